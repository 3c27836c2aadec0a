"""A list of images in a file: columns ``path``, ``label`` and, if it has a split of its own, ``split``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from features.sources.catalogue import SPLITS, UNSPLIT, Catalogue, Files, Kind, Rows, refuse_own_split
from features.util.errors import InputError, did_you_mean, listing, need

# Endings of lists, and what a row of each is called.
TABLES = {".csv": "line", ".parquet": "row"}

Numbered = list[tuple[int, Sequence[Any]]]


def read_table(file: Path, split: float | None) -> Catalogue:
    """List the images of a ``.csv`` (UTF-8, with a header) or ``.parquet`` file.

    A path is relative to the list's folder, or absolute, or a URL that fsspec reads. A label is a class name, numbers
    too. A split is ``train`` or ``val``.

    Args:
        file: The list.
        split: The fraction to hold out, where there is no column ``split``.

    Raises:
        InputError: naming every problem at once, each with its line.
    """
    place = f"the list {file}"
    header, cells = _read_csv(file) if file.suffix.lower() == ".csv" else _read_parquet(file)
    _refuse_header(file, header)
    if "split" in header:
        refuse_own_split(f"{place}, in its column split,", split)
    elif split is None:
        raise InputError(
            f'{place} has no column split; give --split 0.2 (make: FEATURES_ARGS="--split 0.2") to hold out a fifth of '
            "each class, or add the column, with train or val in each line"
        )
    rows, problems = _rows(header, cells, TABLES[file.suffix.lower()])
    problems += _url_problems(path for of_part in rows.values() for path, _ in of_part)
    if not cells:
        problems.append("it holds no image")
    if problems:
        raise InputError(f"{place} can't be used as a data set:\n{listing(problems)}")
    return Catalogue(name=file.stem, place=place, source=Files(file.absolute().parent), rows=rows)


def _read_csv(file: Path) -> tuple[list[str], Numbered]:
    cells: Numbered = []
    try:
        # Spreadsheets put a byte order mark in front.
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            cells.extend((reader.line_num, row) for row in reader if row)
    except UnicodeDecodeError as error:
        raise InputError(f"the list {file} is not UTF-8 text ({error}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"the list {file} is no CSV: line {reader.line_num}: {error}") from error
    return header, cells


def _read_parquet(file: Path) -> tuple[list[str], Numbered]:
    parquet = need("pyarrow.parquet", f"reading {file} needs", ", or save the list as .csv")
    from pyarrow import ArrowException

    try:
        opened = parquet.ParquetFile(file)
        header = list(opened.schema_arrow.names)
        wanted = [name for name in ("path", "label", "split") if name in header]
        columns = opened.read(columns=wanted).to_pydict()
    except ArrowException as error:
        raise InputError(f"{file} is no Parquet file, or a damaged one ({error})") from error
    return wanted or header, list(enumerate(zip(*columns.values(), strict=True), start=1))


def _refuse_header(file: Path, header: list[str]) -> None:
    problems = [
        f"it has no column {name}{did_you_mean(name, header)}" for name in ("path", "label") if name not in header
    ]
    problems += [
        f"it has {header.count(name)} columns {name}" for name in sorted(set(header)) if header.count(name) > 1
    ]
    if problems:
        raise InputError(
            f"the list {file} can't be used as a data set:\n{listing(problems)}\n"
            f"Wanted: columns path, label and, if you like, split (train or val), separated by commas; found: "
            f"{', '.join(header) or 'nothing'}."
        )


def _rows(header: list[str], cells: Numbered, unit: str) -> tuple[Rows, list[str]]:
    """The rows of each split, and the problems of all others."""
    rows: Rows = {part: [] for part in (SPLITS if "split" in header else (UNSPLIT,))}
    problems = []
    first: dict[str, int] = {}
    for number, row in cells:
        if len(row) != len(header):
            problems.append(f"{unit} {number} has {len(row)} cells, the header has {len(header)}")
            continue
        cell = {name: "" if value is None else str(value) for name, value in zip(header, row, strict=True)}
        path, label, part = cell["path"], cell["label"].strip(), cell.get("split", UNSPLIT).strip()
        found = [f"its {name} is empty" for name, value in (("path", path.strip()), ("label", label)) if not value]
        if part not in rows:
            found.append(f"its split is {part!r}; it must be train or val{did_you_mean(part, SPLITS)}")
        same = path if "://" in path else os.path.normpath(path)
        if path and same in first:
            found.append(f"its path {path} is in {unit} {first[same]} already")
        problems += [f"{unit} {number}: {problem}" for problem in found]
        first.setdefault(same, number)
        if not found:
            rows[part].append((path, label))
    return rows, problems


def _url_problems(paths: Iterable[str]) -> list[str]:
    """The reasons why fsspec can't read URLs of these kinds."""
    schemes = sorted({path.split("://")[0] for path in paths if "://" in path})
    if not schemes:
        return []
    try:
        import fsspec
    except ImportError:
        return [f"reading {schemes[0]}://… needs fsspec, which is not installed; install it: pip install fsspec"]
    problems = []
    for scheme in schemes:
        try:
            fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            problems.append(f"{scheme}://… can't be read: {error}")
    return problems


def _is_table(data: str) -> bool:
    place = Path(data).expanduser()
    return place.suffix.lower() in TABLES and place.is_file()


TABLE = Kind(
    takes="a .csv or .parquet list",
    claims=_is_table,
    read=lambda data, split, _: read_table(Path(data).expanduser(), split),
)
