"""The images of a data set: the registry of sources, and what one of them gives.

In: what ``--data`` names. Out: an :class:`ImageSet` of paths and labels, which reads each picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from features.sources.catalogue import SPLITS, Kind, Selection, Source, choose
from features.sources.datasets import DATASETS
from features.sources.folder import FOLDER
from features.sources.hymenoptera import HYMENOPTERA
from features.sources.medmnist import MEDMNIST
from features.sources.table import TABLE, TABLES
from features.util.errors import InputError, listing

# A new kind of source is a module like these, and an entry here.
KINDS: tuple[Kind, ...] = (HYMENOPTERA, FOLDER, TABLE, MEDMNIST, DATASETS)


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of a data set, in a fixed order. It pickles: what it reads from is found again by name.

    Attributes:
        name: Name of the data set.
        location: What ``--data`` was.
        selection: What else shaped the set: ``open_images(location, **selection.record())`` is this set.
        place: Where they are, for messages.
        source: What reads the pictures.
        classes: Class names, sorted; a label is an index into them.
        paths: For each split, the name of each picture, sorted by class, then by name. For a folder: relative to it,
            with forward slashes.
        labels: For each split, the label of each path.
        ignored: Relative paths of files whose names are not those of images.
        note: Licence and citation, where they are known.
    """

    name: str
    location: str
    selection: Selection
    place: str
    source: Source
    classes: tuple[str, ...]
    paths: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[int, ...]]
    ignored: tuple[str, ...] = ()
    note: str = ""

    @property
    def all_paths(self) -> list[str]:
        """The paths of both splits, ``train`` first."""
        return [path for split in SPLITS for path in self.paths[split]]

    def read(self, path: str) -> bytes:
        """The encoded picture of one of the paths, from any thread; raises OSError."""
        return self.source.read(path)


def is_name(data: str) -> bool:
    """Whether ``--data`` is the name of a data set, valid in any folder, and not a path."""
    return any(kind.named and kind.claims(data) for kind in KINDS)


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
        data: A name or a path of one of ``KINDS``.
        split: Fraction of each class to hold out for validation, where the data has no split of its own.
        seed: Seed of the draws for ``split`` and ``limit``.
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

    catalogue = _kind_of(data).read(data, split, download)
    rows = choose(catalogue, split=split, seed=seed, classes=classes, limit=limit)
    names = sorted({name for _, name in rows["train"]})
    label = {name: index for index, name in enumerate(names)}
    return ImageSet(
        name=catalogue.name,
        location=data,
        selection=Selection(
            split=split,
            classes=tuple(sorted(set(classes))) or None,
            limit=limit,
            seed=None if split is None and limit is None else seed,
        ),
        place=catalogue.place,
        source=catalogue.source,
        classes=tuple(names),
        paths={part: tuple(path for path, _ in of_part) for part, of_part in rows.items()},
        labels={part: tuple(label[name] for _, name in of_part) for part, of_part in rows.items()},
        ignored=catalogue.ignored,
        note=catalogue.note,
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


def _kind_of(data: str) -> Kind:
    # A name means the same in every folder, whatever files lie there.
    for kind in sorted(KINDS, key=lambda kind: not kind.named):
        if kind.claims(data):
            return kind
    *others, last = (kind.takes for kind in KINDS)
    takes = f"--data (make: DATA=) takes {', '.join(others)}, or {last}"
    if "://" in data:
        raise InputError(f"{data} is a URL; {takes}. A list may name images by their URLs.")
    place = Path(data).expanduser()
    if place.exists():
        raise InputError(f"{place} is a file; {takes}")
    noun = "file" if place.suffix.lower() in TABLES else "folder"
    raise InputError(f"there is no {noun} {place}; {takes}.{_hint(place)}")


def _hint(place: Path) -> str:
    near = get_close_matches(place.name, [name for kind in KINDS for name in kind.names], n=1, cutoff=0.7)
    near += [str(place.with_name(name)) for name in get_close_matches(place.name, _names_beside(place))]
    return f" Did you mean {near[0]}?" if near else ""


def _names_beside(place: Path) -> list[str]:
    try:
        return [entry.name for entry in place.parent.iterdir() if entry.is_dir() or entry.suffix.lower() in TABLES]
    except OSError:
        return []
