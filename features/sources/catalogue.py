"""The seam of all sources: a :class:`Kind` of source reads a :class:`Catalogue`; :func:`choose` selects from it.

In: what ``--data`` names, and ``--split``, ``--classes``, ``--limit``. Out: paths and class names of the training and
of the validation images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from features.util.errors import InputError, did_you_mean, listing

SPLITS = ("train", "val")
# The one key of a catalogue's rows where they are not split.
UNSPLIT = "all"

Row = tuple[str, str]
Rows = dict[str, list[Row]]


class Source(Protocol):
    """Where the pictures of a set are read from: small to pickle, and safe to use from many threads."""

    def read(self, path: str) -> bytes:
        """The encoded picture; raises OSError."""


@dataclass(frozen=True)
class Files:
    """Pictures in files: below ``root``, at absolute paths, or, where a path is a URL, in any store fsspec reads."""

    root: Path

    def read(self, path: str) -> bytes:
        """The file's contents; raises OSError."""
        return _fetch(path) if "://" in path else (self.root / path).read_bytes()


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All images that a place offers.

    Attributes:
        name: Name of the data set.
        place: Where it is, for messages.
        source: What reads them.
        rows: Pairs (path, class name), for each split; under the one key ``UNSPLIT`` where there is none.
        ignored: Paths of files whose names are not those of images.
        note: Licence and citation, where they are known.
    """

    name: str
    place: str
    source: Source
    rows: Rows
    ignored: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of source: all that :func:`features.sources.images.open_images` knows of it.

    Attributes:
        takes: What ``--data`` may be, for messages: `a folder`.
        claims: Whether a value of ``--data`` is of this kind; the first kind that claims it reads it.
        read: The catalogue of a value, given ``--split`` (None where it was not given) and whether it may be
            downloaded; raises InputError.
        named: Whether its values are names, valid in any folder, rather than paths.
        names: The names, for hints; empty for paths.
    """

    takes: str
    claims: Callable[[str], bool]
    read: Callable[[str, float | None, bool], Catalogue]
    named: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The flags that selected images from all that a place offers; None where a flag was not given.

    Attributes:
        split: Fraction of each class that was held out.
        classes: Classes to which the set was narrowed, sorted.
        limit: Images of each class in each split, at most.
        seed: Seed of the draws for ``split`` and ``limit``.
    """

    split: float | None = None
    classes: tuple[str, ...] | None = None
    limit: int | None = None
    seed: int | None = None

    def record(self) -> dict[str, Any]:
        """What was given, as JSON holds it: arguments of :func:`features.sources.images.open_images`."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given | ({"classes": list(self.classes)} if self.classes is not None else {})


def choose(catalogue: Catalogue, *, split: float | None, seed: int, classes: Sequence[str], limit: int | None) -> Rows:
    """Select the rows of both splits, sorted by class, then by path.

    The draw depends on the seed and on the paths alone, not on their order or on a library's random numbers: images are
    drawn in the order of the SHA-256 of seed and path.

    Raises:
        InputError: naming every problem at once: classes that are not there, or too few images of one.
    """
    rows = catalogue.rows
    if classes:
        _refuse_unknown(catalogue, classes)
        wanted = set(classes)
        rows = {part: [row for row in of_part if row[1] in wanted] for part, of_part in rows.items()}
    if split is not None:
        rows = _held_out(catalogue, rows[UNSPLIT], split, seed)
    refuse_classes(catalogue.place, {part: set(_by_class(rows[part])) for part in SPLITS}, "images")
    if limit is not None:
        rows = {
            part: [(path, name) for name, paths in _by_class(of_part).items() for path in _drawn(paths, seed)[:limit]]
            for part, of_part in rows.items()
        }
    return {part: sorted(rows[part], key=lambda row: (row[1], row[0])) for part in SPLITS}


def refuse_own_split(place: str, split: float | None) -> None:
    """Raise an InputError if ``--split`` was given for a place that is split already."""
    if split is not None:
        raise InputError(f"--split is {split}, but {place} has its own split; leave --split out")


def _fetch(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            return bytes(file.read())
    except OSError:
        raise
    except Exception as error:  # each store has errors of its own: missing credentials, a cut connection
        raise OSError(f"{type(error).__name__}: {error}") from error


def _refuse_unknown(catalogue: Catalogue, classes: Sequence[str]) -> None:
    every = sorted({name for of_part in catalogue.rows.values() for _, name in of_part})
    problems = [
        f"--classes names {name!r}, which {catalogue.place} has not{did_you_mean(name, every)}"
        for name in classes
        if name not in every
    ]
    if len(set(classes)) < 2:
        problems.append(f"--classes names only {', '.join(classes)}; at least 2 classes are needed")
    if problems:
        raise InputError("\n".join([*problems, f"Its {len(every)} classes are:", listing(every)]))


def _held_out(catalogue: Catalogue, rows: list[Row], split: float, seed: int) -> Rows:
    divided: Rows = {part: [] for part in SPLITS}
    alone = []
    for name, paths in sorted(_by_class(rows).items()):
        if len(paths) < 2:
            alone.append(name)
        for part, chosen in zip(SPLITS[::-1], held_out(paths, split, seed), strict=True):
            divided[part] += [(path, name) for path in chosen]
    if alone:
        raise InputError(
            f"{catalogue.place} can't be split: of each class one image is for training and one for validation, but "
            f"these have only one:\n{listing(alone)}"
        )
    return divided


def held_out(names: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """The items of one class for validation, and those for training: at least one of each, where there are two."""
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    shuffled = _drawn(names, seed)
    return shuffled[:count], shuffled[count:]


def refuse_classes(place: str, names: Mapping[str, set[str]], noun: str) -> None:
    """Raise an InputError unless each class has items in both splits, and there are two.

    Args:
        place: Where the data set is.
        names: The classes in each split.
        noun: What its items are: `images`.
    """
    problems = [
        f"class {name} has {noun} for {here}, but none for {there}"
        for here, there in (SPLITS, SPLITS[::-1])
        for name in sorted(names[here] - names[there])
    ]
    every = sorted(names["train"] | names["val"])
    if len(every) < 2:
        problems.append(f"it has {len(every)} class(es) ({', '.join(every)}); at least 2 are needed")
    if problems:
        raise InputError(f"{place} can't be used as a data set:\n{listing(problems)}")


def _by_class(rows: list[Row]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for path, name in rows:
        paths.setdefault(name, []).append(path)
    return paths


def _drawn(paths: list[str], seed: int) -> list[str]:
    """The paths in the order in which they are drawn: that of the SHA-256 of seed and path."""
    return sorted(paths, key=lambda path: hashlib.sha256(f"{seed}\0{path}".encode()).digest())
