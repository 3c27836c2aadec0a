"""The true classes of what is predicted.

In: ``--labels``: a CSV, the pictures' folders, or the labels in a file of features. Out: the class of each picture or
row, known before anything is classified.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from features.util.errors import InputError, did_you_mean, listing

NAMES, CLASSES = ("image", "path", "id"), ("class", "label")
"""Columns of a CSV of labels, the first of each that is there."""
NONE = -1


def of_folders(images: Iterable[Path], classes: Sequence[str]) -> np.ndarray:
    """The class that each picture's folder is named by: its index, int64 of shape (N,).

    Raises:
        InputError: if a folder is named by no class.
    """
    return of_names([path.absolute().parent.name for path in images], classes, "--labels folder")


def of_names(names: Sequence[str], classes: Sequence[str], place: str) -> np.ndarray:
    """The index of each class name, int64 of shape (N,).

    Raises:
        InputError: if one is no class of the head.
    """
    index = {name: k for k, name in enumerate(classes)}
    unknown = Counter(name for name in names if name not in index)
    if unknown:
        told = [f"{name!r}, {count} of them{did_you_mean(name, classes)}" for name, count in unknown.items()]
        raise InputError(
            f"{place} names classes that the head does not know:\n{listing(told)}\nIt knows {', '.join(classes)}"
        )
    return np.array([index[name] for name in names], dtype=np.int64)


def of_file(file: Path, things: Iterable[Path], classes: Sequence[str], given: Sequence[Path]) -> np.ndarray:
    """The class that a CSV gives each picture or row: its index, or -1 of what it does not name; int64 of shape (N,).

    Its columns are ``image`` (or ``path``, ``id``) and ``class`` (or ``label``); others are ignored, and so are lines
    without a class. A picture is named as in the output, or by its path from the CSV's folder or from a given folder.

    Raises:
        InputError: if it can't be read, names no class of the head, contradicts itself, or names nothing of this.
    """
    lines = _lines(file)
    written = [line for line in lines if line[2]]
    indices = of_names([label for *_, label in written], classes, f"the labels in {file}")
    known: dict[str, tuple[int, int]] = {}
    for (number, name, _), index in zip(written, indices.tolist(), strict=True):
        before = known.setdefault(os.path.normpath(name), (index, number))
        if before[0] != index:
            raise InputError(f"{file} gives {name} two classes, in lines {before[1]} and {number}; leave one of them")
    found: list[int] = []
    taken: dict[int, Path] = {}
    folders = [file.parent, *(path for path in given if path.is_dir())]
    for thing in things:
        names = {os.path.normpath(thing), os.path.normpath(thing.absolute())}
        names |= {os.path.relpath(thing, folder) for folder in folders} if given else set()
        entries = {known[name] for name in names if name in known}
        if len({index for index, _ in entries}) > 1:
            places = " and ".join(str(number) for _, number in sorted(entries, key=lambda entry: entry[1]))
            raise InputError(f"{file} gives {thing} two classes, in lines {places}; leave one of them")
        for _, number in entries:
            other = taken.setdefault(number, thing)
            if other.absolute() != thing.absolute():
                raise InputError(
                    f"line {number} of {file} fits two pictures, {other} and {thing}; name its picture with its folder"
                )
        found.append(next(iter(entries))[0] if entries else NONE)
    if not taken:
        first = written[0][1] if written else "none"
        raise InputError(
            f"no label in {file} is of what is classified here; its first is of {first}. Name pictures as they are "
            "named in the output, or by their paths from the CSV's folder"
        )
    if len(taken) < len(known):
        told = f"{len(known) - len(taken)} of {len(known)} labels in {file} are of nothing that is classified here"
        print(told, file=sys.stderr)
    return np.array(found, dtype=np.int64)


def _lines(file: Path) -> list[tuple[int, str, str]]:
    """Number, name and class of each line."""
    try:
        # Spreadsheets put a byte order mark in front; a name that is not UTF-8 is its own bytes, as in the output.
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            columns = [next((name for name in names if name in header), None) for names in (NAMES, CLASSES)]
            if None in columns:
                raise InputError(
                    f"{file} has the columns {', '.join(header) or 'none'}; labels need {' or '.join(NAMES)}, and "
                    f"{' or '.join(CLASSES)}"
                )
            places = [header.index(name) for name in columns if name is not None]
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise InputError(
            f"--labels is {file}, and there is no such file; give a CSV, or `folder`, or `features`"
        ) from None
    except csv.Error as error:
        raise InputError(f"{file} is no CSV: line {reader.line_num}: {error}") from error
    short = [number for number, row in rows if len(row) <= max(places)]
    if short:
        raise InputError(f"line {short[0]} of {file} has fewer cells than its header; give it a name and a class")
    return [(number, row[places[0]], row[places[1]].strip()) for number, row in rows]
