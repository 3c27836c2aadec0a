"""Rows of features from any file: the seam between formats and the import.

In: a format's reader gives a :class:`Table`. Out: class names, labels, names and splits of its rows, checked, and the
rows themselves a block at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from features.util.errors import InputError, did_you_mean, listing, shortened

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
        names: Name of each feature, where each has a column of its own; else empty.
        left_out: What else the file holds, and why it is no feature, in words that may be none.
    """

    width: int
    labels: np.ndarray | None
    ids: np.ndarray | None
    splits: np.ndarray | None
    classes: tuple[str, ...] | None
    blocks: Callable[[], Iterator[np.ndarray]]
    names: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


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
        trained_on: The features by name, in the order in which a head takes them; empty where any will do.
        optional: Whether the names are those of another file, so that one that is not there is no mistake.
    """

    features: str | None = None
    labels: str | None = None
    ids: str | None = None
    splits: str | None = None
    trained_on: tuple[str, ...] = ()
    optional: bool = False

    @classmethod
    def recorded(cls, transform: str) -> Self:
        """The columns of the rows that a cache was imported from, to be found again in another file."""
        given = json.loads(transform)
        names = {"features": "columns", "labels": "label", "ids": "id", "splits": "split_column"}
        return cls(
            **{kind: given.get(name) for kind, name in names.items()},
            trained_on=tuple(given.get("features", ())),
            optional=True,
        )


USUAL = {
    "features": ("features", "embeddings", "embedding", "X", "x", "vectors", "data"),
    "labels": ("labels", "label", "y", "targets", "target", "class"),
    "ids": ("ids", "id", "paths", "path", "names", "name"),
    "splits": ("splits", "split"),
    "classes": ("classes", "class_names", "target_names"),
}
"""What others call features, labels, …, the likeliest first."""
_KEY = re.compile(r"(?i:|unnamed: \d+|__index_level_\d+__|index|id|.*[_ .-]id)|.*[a-z]I[dD]")
"""Names of columns that number or name the rows, as databases and pandas call them."""
ENOUGH_ROWS = 10
"""Rows from which on k, k + 1, k + 2, … is taken for a count of the rows."""
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})(\.0*)?")
_FLAGS = {"features": "--columns", "labels": "--label", "ids": "--id", "splits": "--split-column"}


def find_column(columns: Columns, kind: str, there: Sequence[str], place: Path) -> str | None:
    """The name of the column of one kind among those that are there.

    Raises:
        InputError: if the user named one that is not there.
    """
    given = getattr(columns, kind, None)
    if columns.optional and given not in there:
        given = None
    if given is not None and given not in there:
        raise InputError(
            f"{_FLAGS[kind]} is {given}, which {place} has not{did_you_mean(given, there)}; it holds {shortened(there)}"
        )
    return given if given is not None else next((name for name in USUAL[kind] if name in there), None)


def not_found(place: Path, kind: str, there: Sequence[str]) -> InputError:
    """The error for a file without features, or without labels."""
    return InputError(
        f"{place} has no {kind} under a usual name ({', '.join(USUAL[kind])}); it holds "
        f"{shortened(there) or 'nothing else'}; say which with {_FLAGS[kind]} NAME"
    )


def feature_columns(
    names: Sequence[str], numbers: Mapping[str, np.ndarray | None], columns: Columns, place: Path
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Which columns of a table are features, and which are none, each with the reason.

    A column that numbers the rows is none: where rows are sorted by class, it would tell the class.

    Args:
        names: Of all columns that may be features.
        numbers: The first numbers of each column; None for one that holds something else.
        columns: What was asked for.
        place: For messages.

    Raises:
        InputError: if there are none, some have one name, or the head was trained on others.
    """
    if missing := [name for name in columns.trained_on if numbers.get(name) is None]:
        raise InputError(
            f"{place} has no numbers in {shortened(missing)}, which the head was trained on; it holds "
            f"{shortened(names)}"
        )
    chosen, left_out = list(columns.trained_on), []
    for name in () if chosen else names:
        if not name.startswith(columns.features or ""):
            continue
        if numbers[name] is None:
            left_out.append((name or "a column without a name", "no numbers"))
        elif columns.features is None and _numbers_rows(name, numbers[name]):
            left_out.append((name or "a column without a name", "numbers the rows"))
        else:
            chosen.append(name)
    if not chosen:
        raise not_found(place, "features", names)
    if twice := sorted({name for name in chosen if names.count(name) > 1}):
        raise InputError(f"{place} has several columns with the name {shortened(twice)}; give each a name of its own")
    return tuple(chosen), tuple(left_out)


def _numbers_rows(name: str, values: np.ndarray | None) -> bool:
    """Whether a column is a count of the rows, by its first values, or a key of them, by its name."""
    if _KEY.fullmatch(name):
        return True
    return values is not None and len(values) >= ENOUGH_ROWS and bool((np.diff(values.astype(np.float64)) == 1).all())


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
    labels, named = table.labels, table.classes
    if not len(labels):
        raise InputError(
            f"{place} has no rows; at least one of each of two classes is wanted for training and validation"
        )
    if labels.dtype.kind not in "fiub":
        names, index = np.unique(np.char.strip(texts(labels)), return_inverse=True)
        if names[0] == "":
            raise InputError(f"row {int(np.argmin(index))} of {place} has no label; give it one, or leave the row out")
        if not all(_WHOLE.fullmatch(name) for name in names.tolist()):
            return tuple(map(str, names.tolist())), index.astype(np.int64)
        # Numbers written as text count as numbers, so that 10 comes behind 9 whatever the format.
        labels, named = names.astype(np.float64)[index], None
    numbers = labels.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.round(numbers)))
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} of {place} has the label {labels[wrong[0]]}; a label is a class: text, or a whole number"
        )
    values, index = np.unique(numbers.astype(np.int64), return_inverse=True)
    if named is None:
        return tuple(map(str, values.tolist())), index.astype(np.int64)
    if values[0] < 0 or values[-1] >= len(named):
        raise InputError(f"labels of {place} go from {values[0]} to {values[-1]}, and it names {len(named)} classes")
    return tuple(named[k] for k in values.tolist()), index.astype(np.int64)


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
