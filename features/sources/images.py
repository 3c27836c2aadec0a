"""The images of a data set: which there are, whether each can be read, and their fingerprint.

In: what ``--data`` names. Out: an :class:`ImageSet` of paths and labels, which reads each picture; RGB pictures.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps

from features.cache.featureset import SPLITS
from features.sources import datasets, download
from features.sources.catalogue import Catalogue, Source, choose
from features.sources.folder import read_folder
from features.sources.table import TABLES, read_table
from features.util.errors import InputError, listing

Item = TypeVar("Item")
Result = TypeVar("Result")

# Pillow only warns of a picture between one and two times its limit; here that is refused, which says more.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of a data set, in a fixed order. It pickles: what it reads from is found again by name.

    Attributes:
        name: Name of the data set.
        location: What ``--data`` was.
        selection: What else was given and shaped the set (``split``, ``seed``, ``classes``, ``limit``), as JSON takes
            it: ``open_images(location, **selection)`` is this set.
        place: Where they are, for messages.
        source: What reads the pictures.
        classes: Class names, sorted; a label is an index into them.
        paths: For each split, the name of each picture, sorted by class, then by name. For a folder: relative to it,
            with forward slashes.
        labels: For each split, the label of each path.
        ignored: Relative paths of files whose names are not those of images.
    """

    name: str
    location: str
    selection: dict[str, Any]
    place: str
    source: Source
    classes: tuple[str, ...]
    paths: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[int, ...]]
    ignored: tuple[str, ...] = ()

    @property
    def all_paths(self) -> list[str]:
        """The paths of both splits, ``train`` first."""
        return [path for split in SPLITS for path in self.paths[split]]

    def read(self, path: str) -> bytes:
        """The encoded picture of one of the paths, from any thread; raises OSError."""
        return self.source.read(path)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What :func:`check_images` found.

    Attributes:
        digests: SHA-256, in hex, of each file that can be read, by path, in the set's order.
        problems: The reason why each other one can't.
    """

    digests: dict[str, str]
    problems: dict[str, str]


def is_name(data: str) -> bool:
    """Whether ``--data`` is the name of a data set, wherever a command runs, and not a path."""
    return data == "hymenoptera" or datasets.is_dataset(data)


def open_images(
    data: str,
    *,
    split: float | None = None,
    seed: int = 0,
    classes: Sequence[str] = (),
    limit: int | None = None,
    download: bool = True,
) -> ImageSet:
    """List the images of a data set.

    Args:
        data: ``hymenoptera``; a folder (:mod:`features.sources.folder`); a ``.csv`` or ``.parquet`` list
            (:mod:`features.sources.table`); or a torchvision data set by name (:mod:`features.sources.datasets`).
        split: Fraction of each class to hold out for validation, where the data has no split of its own.
        seed: What ``split`` and ``limit`` draw by.
        classes: The classes to use; all if empty.
        limit: Images to use of each class in each split, at most; drawn at random.
        download: Whether a named set may be downloaded if it is not here yet.

    Raises:
        InputError: for data or choices that can't be used.
        DownloadError: if a named set can't be had.
    """
    problems = []
    if split is not None and not 0 < split < 1:
        problems.append(f"--split is {split}; it must be more than 0 and less than 1, such as 0.2")
    if limit is not None and limit < 1:
        problems.append(f"--limit is {limit}; it must be 1 or more images a class")
    if problems:
        raise InputError("\n".join(problems))

    catalogue = _catalogue(data, split, download)
    rows = choose(catalogue, split=split, seed=seed, classes=classes, limit=limit)
    given = {"split": split, "classes": sorted(set(classes)) or None, "limit": limit}
    selection = {name: value for name, value in given.items() if value is not None}
    if split is not None or limit is not None:
        selection["seed"] = seed
    names = sorted({name for _, name in rows["train"]})
    label = {name: index for index, name in enumerate(names)}
    return ImageSet(
        name=catalogue.name,
        location=data,
        selection=selection,
        place=catalogue.place,
        source=catalogue.source,
        classes=tuple(names),
        paths={part: tuple(path for path, _ in of_part) for part, of_part in rows.items()},
        labels={part: tuple(label[name] for _, name in of_part) for part, of_part in rows.items()},
        ignored=catalogue.ignored,
    )


def without(image_set: ImageSet, paths: Collection[str]) -> ImageSet:
    """The same set without some of its paths.

    Raises:
        InputError: if that leaves a class of a split without an image.
    """
    kept = {
        part: [
            (path, label)
            for path, label in zip(image_set.paths[part], image_set.labels[part], strict=True)
            if path not in paths
        ]
        for part in SPLITS
    }
    empty = [
        f"{part}: {image_set.classes[index]}"
        for part in SPLITS
        for index in sorted(set(image_set.labels[part]) - {label for _, label in kept[part]})
    ]
    if empty:
        raise InputError(
            f"without {len(paths)} images of {image_set.place} no image is left of these classes:\n{listing(empty)}"
        )
    return replace(
        image_set,
        paths={part: tuple(path for path, _ in of_part) for part, of_part in kept.items()},
        labels={part: tuple(label for _, label in of_part) for part, of_part in kept.items()},
    )


def decode(content: bytes) -> Image.Image:
    """The picture as upright 8-bit RGB, whatever its mode: EXIF rotation applied, transparency laid on white, 16-bit
    greyscale scaled down.

    Raises:
        UNREADABLE: one of these, as Pillow finds the contents unreadable.
    """
    return _decode(content)


def check_images(image_set: ImageSet, known: Collection[str] = ()) -> Checked:
    """Read every image once: take its fingerprint and decode it, at reduced scale where its format allows, before any
    hour is spent on the network. With a progress bar; images are not kept in memory.

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


def images_sha256(digests: dict[str, str]) -> str:
    """One fingerprint over the ordered paths and file contents of :attr:`Checked.digests`."""
    digest = hashlib.sha256()
    for path, content in digests.items():
        digest.update(f"{path}\0{content}\n".encode())
    return digest.hexdigest()


def shared_images(image_set: ImageSet, digests: dict[str, str]) -> list[str]:
    """Validation images that are also training images, byte for byte: with them accuracy is flattered."""
    in_train = {digests[path] for path in image_set.paths["train"]}
    return [path for path in image_set.paths["val"] if digests[path] in in_train]


_TAKES = (
    "--data (make: DATA=) takes `hymenoptera`, a folder, a .csv or .parquet list, or the name of a torchvision data "
    "set (cifar10, oxford-iiit-pet, …)"
)


def _catalogue(data: str, split: float | None, may_download: bool) -> Catalogue:
    if data == "hymenoptera":
        if not may_download and not (download.datasets_folder() / "hymenoptera_data").is_dir():
            raise download.DownloadError("the data set hymenoptera is not here, and may not be downloaded")
        return read_folder(download.hymenoptera(), split)
    if datasets.is_dataset(data):
        return datasets.read_dataset(data, split, download=may_download)
    if "://" in data:
        raise InputError(f"{data} is a URL; {_TAKES}. A list may name images by their URLs.")
    place = Path(data).expanduser()
    if not place.exists():
        raise InputError(_nothing_there(place))
    if place.is_dir():
        return read_folder(place, split)
    if place.suffix.lower() in TABLES:
        return read_table(place, split)
    raise InputError(f"{place} is a file; {_TAKES}")


def _nothing_there(place: Path) -> str:
    near = get_close_matches(place.name, ["hymenoptera", *datasets.NAMES], n=1, cutoff=0.7)
    near += [str(place.with_name(name)) for name in get_close_matches(place.name, _names_beside(place))]
    hint = f" Did you mean {near[0]}?" if near else ""
    kind = "file" if place.suffix.lower() in TABLES else "folder"
    return f"there is no {kind} {place}; {_TAKES}.{hint}"


def _names_beside(place: Path) -> list[str]:
    try:
        return [entry.name for entry in place.parent.iterdir() if entry.is_dir() or entry.suffix.lower() in TABLES]
    except OSError:
        return []


def _inspect(image_set: ImageSet, paths: Sequence[str], known: Collection[str] | None, title: str | None) -> Checked:
    """Fingerprint images, and decode those whose contents are not ``known``; all are taken as known if it is None."""
    from tqdm import tqdm

    def inspect(path: str) -> tuple[str, str]:
        try:
            content = image_set.read(path)
            digest = hashlib.sha256(content).hexdigest()
            if known is not None and digest not in known:
                _decode(content, reduced=True)
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


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int = 64
) -> Iterator[Result]:
    """Results in order, only so many ahead of what was taken: neither a long list nor a Ctrl-C has to wait for all."""
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        submitted: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(waiting, ahead))
        while submitted:
            yield submitted.popleft().result()
            submitted.extend(pool.submit(function, item) for item in islice(waiting, 1))


def _decode(content: bytes, reduced: bool = False) -> Image.Image:
    if not content:
        raise ValueError("the file is empty (0 bytes)")
    try:
        opened = Image.open(BytesIO(content))
    except Image.UnidentifiedImageError:
        # Pillow's own message names an object in memory.
        raise Image.UnidentifiedImageError("not an image that Pillow can read") from None
    with opened as image:
        _refuse_bomb(image)
        if reduced:
            # A JPEG decoded at an eighth of its size still reads every byte: a truncated one fails here too.
            image.draft(None, (1, 1))
        return upright_rgb(image)


def _refuse_bomb(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width}×{image.height} pixels, more than {limit:,}: could be a decompression bomb"
        )


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as upright 8-bit RGB; see :func:`decode`."""
    # Pillow would copy a picture that is upright already, and one that is RGB already.
    upright = image if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return Image.fromarray(_as_8_bit(upright)).convert("RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if upright.mode == "RGB":
        upright.load()
        return upright
    return upright.convert("RGB")


def _as_8_bit(image: Image.Image) -> np.ndarray:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=1.0)), 1.0)
    return np.clip(values / top * 255.0, 0.0, 255.0).round().astype(np.uint8)
