"""Reads every image once, before the network starts: which can be decoded, and their fingerprints.

In: an :class:`features.sources.images.ImageSet`. Out: the SHA-256 of each image, and the reason for each that can't be
read; one fingerprint over all of them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from features.sources.catalogue import SPLITS
from features.sources.decode import UNREADABLE, try_decoding
from features.sources.images import ImageSet
from features.util.errors import InputError, listing

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What :func:`check_images` found.

    Attributes:
        digests: SHA-256, in hex, of each file that can be read, by path, in the set's order.
        problems: The reason why each other one can't.
    """

    digests: dict[str, str]
    problems: dict[str, str]


def check_images(image_set: ImageSet, known: Collection[str] = ()) -> Checked:
    """Read every image once: take its fingerprint and decode it, at reduced scale where its format allows. With a
    progress bar; images are not kept in memory.

    Args:
        image_set: The images.
        known: Fingerprints of contents that have been decoded before, and are not again.
    """
    return _inspect(image_set, image_set.all_paths, known, "check")


def check_paths(image_set: ImageSet, paths: Sequence[str], known: Collection[str]) -> Checked:
    """Check some of the images, without a progress bar, as :func:`check_images` does."""
    return _inspect(image_set, paths, known, None)


def file_digests(image_set: ImageSet) -> dict[str, str]:
    """SHA-256, in hex, of every image's file, by path: :func:`check_images` without the decoding.

    Raises:
        InputError: listing all files that can't be read, each with the reason.
    """
    checked = _inspect(image_set, image_set.all_paths, None, "check")
    refuse_unreadable(image_set, checked)
    return checked.digests


def refuse_unreadable(image_set: ImageSet, checked: Checked) -> None:
    """Raise an InputError that lists all images that can't be read, each with the reason, if there are any."""
    if checked.problems:
        bad = [f"{path}: {reason}" for path, reason in checked.problems.items()]
        raise InputError(
            f"{len(bad)} of {len(image_set.all_paths)} images in {image_set.place} can't be read:\n{listing(bad)}\n"
            "Mend or remove them, then run the same command again; `make features` leaves them out with --skip-bad."
        )


def images_sha256(image_set: ImageSet, digests: Mapping[str, str]) -> str:
    """One fingerprint over the split, the class, the path and the contents of every image, in the set's order.

    Args:
        image_set: The images.
        digests: SHA-256 of each, in hex, by path.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        for path, label in zip(image_set.paths[split], image_set.labels[split], strict=True):
            digest.update(f"{split}\0{image_set.classes[label]}\0{path}\0{digests[path]}\n".encode())
    return digest.hexdigest()


def images_sha256_before_format_3(image_set: ImageSet, digests: Mapping[str, str]) -> str:
    """The fingerprint that caches of formats 1 and 2 hold: it covers paths and contents alone, no labels."""
    digest = hashlib.sha256()
    for path in image_set.all_paths:
        digest.update(f"{path}\0{digests[path]}\n".encode())
    return digest.hexdigest()


def shared_images(image_set: ImageSet, digests: Mapping[str, str]) -> list[str]:
    """The validation images that are also training images, byte for byte; they flatter accuracy."""
    in_train = {digests[path] for path in image_set.paths["train"]}
    return [path for path in image_set.paths["val"] if digests[path] in in_train]


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int = 64
) -> Iterator[Result]:
    """Yield results in order. At most ``ahead`` of them are computed before they are asked for, so that neither memory
    nor a Ctrl-C waits for a long list."""
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        submitted: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, ahead))
        while submitted:
            yield submitted.popleft().result()
            submitted.extend(pool.submit(function, item) for item in islice(waiting, 1))


def _inspect(image_set: ImageSet, paths: Sequence[str], known: Collection[str] | None, title: str | None) -> Checked:
    """Fingerprint images, and decode those whose contents are not ``known``; None decodes none."""
    from tqdm import tqdm

    def inspect(path: str) -> tuple[str, str]:
        try:
            content = image_set.read(path)
            digest = hashlib.sha256(content).hexdigest()
            if known is not None and digest not in known:
                try_decoding(content)
        except UNREADABLE as error:
            return "", str(error) or type(error).__name__
        return digest, ""

    checked = Checked(digests={}, problems={})
    with tqdm(total=len(paths), unit="image", desc=title, disable=None if title else True) as bar:
        for path, (digest, problem) in zip(paths, in_threads(inspect, paths), strict=True):
            if problem:
                checked.problems[path] = problem
            else:
                checked.digests[path] = digest
            bar.update()
    return checked
