"""Rows of features from any file: the seam between formats and the import.

In: a format's reader gives a :class:`Table`. Out: class names, labels, names and splits of its rows, checked, and the
rows themselves a block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.util.errors import InputError, did_you_mean, listing

BLOCK_BYTES = 2**23
"""Bytes of features that a reader gives at once."""
TRAIN, VAL = "train", "val"
SPLIT_NAMES = {TRAIN: TRAIN, "training": TRAIN} | dict.fromkeys((VAL, "valid", "validation", "dev", "test"), VAL)
"""What others call a split, in the order in which one is taken as validation where a file has several."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of features with their labels.

    Attributes:
        width: Features a row.
        labels: Label of each row: whole numbers or text, shape (N,); None where there are none.
        ids: Name of each row, shape (N,); None where there are none.
        splits: The split of each row in the file's own words, shape (N,); None where there are none.
        classes: Names of the classes that whole numbers count; None where the numbers are the names.
        blocks: Reads all rows in order, a block of shape (n, width) at a time.
    """

    width: int
    labels: np.ndarray | None
    ids: np.ndarray | None
    splits: np.ndarray | None
    classes: tuple[str, ...] | None
    blocks: Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of files.

    Attributes:
        takes: What it is called in messages: `.npz`.
        claims: Whether a path is of this format, by its name or by what a folder holds.
        read: The table in a file, given the names of its columns.
    """

    takes: str
    claims: Callable[[Path], bool]
    read: Callable[[Path, Columns], Table]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a file holds what; None where the usual names are to be tried.

    Attributes:
        features, labels, ids, splits: Names of columns or arrays; of ``.npy``, ``labels`` is a file beside it.
    """

    features: str | None = None
    labels: str | None = None
    ids: str | None = None
    splits: str | None = None


USUAL = {
    "features": ("features", "embeddings", "embedding", "X", "x", "vectors", "data"),
    "labels": ("labels", "label", "y", "targets", "target", "class"),
    "ids": ("ids", "id", "paths", "path", "names", "name"),
    "splits": ("splits", "split"),
    "classes": ("classes", "class_names", "target_names"),
}
"""What others call features, labels, …, the likeliest first."""
_FLAGS = {"features": "--columns", "labels": "--label", "ids": "--id", "splits": "--split-column"}


def find_column(columns: Columns, kind: str, there: Sequence[str], place: Path) -> str | None:
    """The name of the column of one kind among those that are there.

    Raises:
        InputError: if the user named one that is not there.
    """
    given = getattr(columns, kind, None)
    if given is not None and given not in there:
        raise InputError(
            f"{_FLAGS[kind]} is {given}, which {place} has not{did_you_mean(given, there)}; it holds {', '.join(there)}"
        )
    return given if given is not None else next((name for name in USUAL[kind] if name in there), None)


def not_found(place: Path, kind: str, there: Sequence[str]) -> InputError:
    """The error for a file without features, or without labels."""
    return InputError(
        f"{place} has no {kind} under a usual name ({', '.join(USUAL[kind])}); it holds "
        f"{', '.join(there) or 'nothing else'}; say which with {_FLAGS[kind]} NAME"
    )


def texts(values: np.ndarray) -> np.ndarray:
    """Names as text: numbers are written out, bytes are UTF-8."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype == object:
        values = np.array([v.decode() if isinstance(v, bytes) else v for v in values.tolist()], dtype=object)
        return np.array(["" if v is None else str(v) for v in values.tolist()])
    return values.astype(str)


def class_labels(table: Table, place: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes of all rows that have a label, and each row's index into them, int64 of shape (N,).

    Raises:
        InputError: for labels that are no classes: missing, or fractions; and where there are no rows.
    """
    assert table.labels is not None
    labels = table.labels
    if not len(labels):
        raise InputError(
            f"{place} has no rows; at least one of each of two classes is wanted for training and validation"
        )
    if labels.dtype.kind in "fiub":
        numbers = labels.astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.round(numbers)))
        if len(wrong):
            raise InputError(
                f"row {wrong[0]} of {place} has the label {labels[wrong[0]]}; "
                "a label is a class: text, or a whole number"
            )
        values, index = np.unique(numbers.astype(np.int64), return_inverse=True)
        if table.classes is None:
            return tuple(map(str, values.tolist())), index.astype(np.int64)
        if values[0] < 0 or values[-1] >= len(table.classes):
            raise InputError(
                f"labels of {place} go from {values[0]} to {values[-1]}, and it names {len(table.classes)} classes"
            )
        return tuple(table.classes[k] for k in values.tolist()), index.astype(np.int64)
    names, index = np.unique(np.char.strip(texts(labels)), return_inverse=True)
    if names[0] == "":
        raise InputError(f"row {int(np.argmin(index))} of {place} has no label; give it one, or leave the row out")
    return tuple(map(str, names.tolist())), index.astype(np.int64)


def row_names(table: Table, n_rows: int, place: Path) -> np.ndarray:
    """A name of each row, shape (N,): its own, else its number from 0.

    Raises:
        InputError: if two rows have the same name.
    """
    if table.ids is None:
        return np.char.zfill(np.arange(n_rows).astype(str), len(str(max(0, n_rows - 1))))
    names = texts(table.ids)
    ordered = np.sort(names)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise InputError(f"{len(twice)} rows of {place} have a name of another row:\n{listing(np.unique(twice))}")
    return names


def own_splits(table: Table, place: Path) -> np.ndarray | None:
    """Which rows are for training, bool of shape (N,), by the file's own split; None where it has none.

    Raises:
        InputError: for a word that is no split.
    """
    if table.splits is None:
        return None
    words, index = np.unique(np.char.lower(np.char.strip(texts(table.splits))), return_inverse=True)
    unknown = [word for word in words.tolist() if word not in SPLIT_NAMES]
    if unknown:
        raise InputError(
            f"{place} has the split {unknown[0]!r}{did_you_mean(unknown[0], SPLIT_NAMES)}; a split is one of "
            f"{', '.join(SPLIT_NAMES)}"
        )
    return np.array([SPLIT_NAMES[word] == TRAIN for word in words.tolist()])[index]


def sliced(array: Any) -> Iterator[np.ndarray]:
    """The rows of anything that slices to arrays, a block at a time."""
    rows = max(1, BLOCK_BYTES // max(1, array.dtype.itemsize * array.shape[1]))
    for start in range(0, len(array), rows):
        yield np.asarray(array[start : start + rows])
