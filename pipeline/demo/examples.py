"""Pictures to try: a few validation pictures of the run, where this machine has them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from features.sources.decode import UNREADABLE, decode
from features.sources.images import ImageSet
from features.util.errors import InputError
from pipeline.inference.sources import find_images
from pipeline.training.run import Run


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture whose class is known.

    Attributes:
        name: Its file name.
        label: Its true class.
        content: The encoded picture.
    """

    name: str
    label: str
    content: bytes


def validation_examples(run: Run, most: int = 6) -> list[Example]:
    """A few validation pictures of a run, from each class in turn; none where the files are gone."""
    try:
        images = find_images(run, None, download=False)
    except InputError:
        return []
    found: list[Example] = []
    for label, path in _in_turns(images):
        if len(found) == most:
            break
        try:
            content = images.read(path)
            decode(content)
        except UNREADABLE:  # left out of the features too, with --skip-bad
            continue
        found.append(Example(name=PurePosixPath(path).name, label=images.classes[label], content=content))
    return found


def _in_turns(images: ImageSet) -> list[tuple[int, str]]:
    """Labels and paths of the validation images in files of this machine: the first of each class, then the second."""
    count: Counter[int] = Counter()
    turns = []
    for path, label in zip(images.paths["val"], images.labels["val"], strict=True):
        # Skip URLs in a list, because the demo makes no requests to other machines.
        if "://" not in path:
            turns.append((count[label], label, path))
            count[label] += 1
    return [(label, path) for _, label, path in sorted(turns)]
