"""Files of columns: ``.csv``, ``.parquet``, and folders that Hugging Face's ``datasets`` saved.

Features are one column of lists, or all columns of numbers that are nothing else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from features.exchange.table import SPLIT_NAMES, USUAL, Columns, Format, Table, feature_columns, find_column
from features.util.errors import InputError, first_line, need

ROWS = 4096
"""Rows of a table that are read at once."""
SAMPLE = 256
"""Rows of a CSV that tell which columns hold numbers."""
Batches = Callable[[Sequence[str]], Iterator[Any]]


def read_csv(file: Path, columns: Columns) -> Table:
    """The table in a ``.csv`` or ``.tsv`` (UTF-8, with a header), whose cells commas, semicolons or tabs separate."""
    rows = _rows(file)
    header = [name.strip() for name in next(rows, [])]
    first = list(islice(rows, SAMPLE))
    known = {kind: find_column(columns, kind, header, file) for kind in ("labels", "ids", "splits")}
    others = [place for place, name in enumerate(header) if name not in known.values()]
    numbers = {header[place]: _numbers_in([row[place] for row in first]) for place in others}
    names, left_out = feature_columns([header[place] for place in others], numbers, columns, file)
    places = {kind: header.index(name) for kind, name in known.items() if name is not None}
    wanted = [header.index(name) for name in names]
    cells: dict[str, list[str]] = {kind: [] for kind in places}
    for of_row in islice(_rows(file), 1, None):
        for kind, place in places.items():
            cells[kind].append(of_row[place])

    def blocks() -> Iterator[np.ndarray]:
        rows = islice(_rows(file), 1, None)
        done = 0
        while block := list(islice(rows, ROWS)):
            try:
                yield np.array([[of_row[k] for k in wanted] for of_row in block], dtype=np.float32)
            except ValueError:
                row, cell, name = next(
                    (row, of_row[k], header[k])
                    for row, of_row in enumerate(block, done)
                    for k in wanted
                    if not _is_number(of_row[k])
                )
                raise InputError(
                    f"row {row} of {file} has {cell!r} in the column {name}, where a number is wanted; fill it in, "
                    "or leave the row or the column out"
                ) from None
            done += len(block)

    found: dict[str, Any] = {kind: np.array(values) for kind, values in cells.items()}
    return Table(
        width=len(names),
        labels=found.get("labels"),
        ids=found.get("ids"),
        splits=found.get("splits"),
        classes=None,
        blocks=blocks,
        names=names,
        left_out=left_out,
    )


def _rows(file: Path) -> Iterator[list[str]]:
    """The header and the rows, each of as many cells; lines without any are skipped."""
    line = 1
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            header = text.readline()
            text.seek(0)
            reader = csv.reader(text, strict=True, delimiter=max(",;\t", key=header.count))
            n_cells = 0
            for row in reader:
                line = reader.line_num
                n_cells = n_cells or len(row)
                if row and len(row) != n_cells:
                    raise InputError(f"line {line} of {file} has {len(row)} cells, the header has {n_cells}")
                if row:
                    yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is no CSV in UTF-8: line {line}: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers_in(cells: list[str]) -> np.ndarray | None:
    """A column's numbers; None where fewer than half of the cells that are not empty hold one."""
    numbers = [float(cell) for cell in cells if _is_number(cell)]
    return np.array(numbers) if numbers and 2 * len(numbers) >= sum(cell.strip() != "" for cell in cells) else None


def read_parquet(file: Path, columns: Columns) -> Table:
    """The table in a ``.parquet``."""
    parquet = need("pyarrow.parquet", f"reading {file} needs")
    try:
        schema = parquet.read_schema(file)
    except Exception as error:
        raise InputError(f"{file} is no Parquet file, or a damaged one ({first_line(error)})") from error

    def batches(names: Sequence[str]) -> Iterator[Any]:
        yield from parquet.ParquetFile(file).iter_batches(ROWS, columns=list(names))

    return _of_batches(schema, batches, columns, file, None, {})


def read_dataset(folder: Path, columns: Columns) -> Table:
    """The table in a folder of ``datasets``' ``save_to_disk``, of one split or of several."""
    ipc = need("pyarrow.ipc", f"reading {folder} needs")
    parts = {"": folder}
    left_out: tuple[tuple[str, str], ...] = ()
    if (folder / "dataset_dict.json").exists():
        there = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        order = [name for name in SPLIT_NAMES if name in there]
        validation = [name for name in order if SPLIT_NAMES[name] == "val"]
        parts = {name: folder / name for name in order if name not in validation[1:]}
        left_out = tuple((f"split {name}", "") for name in there if name not in parts)
        if not parts:
            raise InputError(f"{folder} has the splits {', '.join(there)}; one of {', '.join(SPLIT_NAMES)} is wanted")
    files = {
        name: [part / each["filename"] for each in json.loads((part / "state.json").read_text())["_data_files"]]
        for name, part in parts.items()
    }
    first = next(iter(files.values()))[0]
    with ipc.open_stream(str(first)) as stream:
        schema = stream.schema
    some = next(iter(parts.values())) / "dataset_info.json"
    kinds = json.loads(some.read_text(encoding="utf-8")).get("features") or {}

    def batches(names: Sequence[str]) -> Iterator[Any]:
        for file in (file for of_split in files.values() for file in of_split):
            with ipc.open_stream(str(file)) as stream:
                yield from (batch.select(list(names)) for batch in stream)

    splits = None
    if "" not in parts:
        lengths = []
        for of_split in files.values():
            lengths.append(0)
            for file in of_split:
                with ipc.open_stream(str(file)) as stream:
                    lengths[-1] += sum(batch.num_rows for batch in stream)
        splits = np.repeat(list(files), lengths)
    table = _of_batches(schema, batches, columns, folder, splits, kinds)
    return replace(table, left_out=table.left_out + left_out)


def _of_batches(
    schema: Any, batches: Batches, columns: Columns, place: Path, splits: np.ndarray | None, kinds: dict[str, Any]
) -> Table:
    from pyarrow import types

    there = list(schema.names)
    known = {kind: find_column(columns, kind, there, place) for kind in ("labels", "ids", "splits")}
    lists = [f.name for f in schema if types.is_list(f.type) or types.is_fixed_size_list(f.type)]
    usual = next((name for name in USUAL["features"] if name in lists), None)
    features = columns.features if columns.features in there else usual
    others = [name for name in there if name not in known.values()]
    numbers = [f.name for f in schema if types.is_floating(f.type) or types.is_integer(f.type)]
    numbers = [name for name in numbers if name in others]
    names: tuple[str, ...] = ()
    if features in lists or (len(lists) == 1 and not numbers):
        chosen = [str(features)] if features in lists else lists
        left_out = tuple((name, f"not in {chosen[0]}") for name in others if name not in chosen)
    else:
        some = next(iter(batches(numbers)), None)
        first_of = {name: None if some is None or name not in numbers else _first(some, name) for name in others}
        names, left_out = feature_columns(others, first_of, columns, place)
        chosen = list(names)

    def cells(kind: str) -> np.ndarray | None:
        name = known[kind]
        if name is None:
            return None
        values = [value for batch in batches([name]) for value in batch.column(0).to_pylist()]
        return np.array(["" if v is None else v for v in values] if any(v is None for v in values) else values)

    def rows() -> Iterator[np.ndarray]:
        done = 0
        for batch in batches(chosen):
            yield _numbers(batch, len(chosen) == 1 and chosen[0] in lists, place, done)
            done += batch.num_rows

    first = next(rows(), None)
    if first is None:
        raise InputError(f"{place} holds no rows")
    classes = (kinds.get(known["labels"] or "") or {}).get("names")
    return Table(
        width=first.shape[1],
        labels=cells("labels"),
        ids=cells("ids"),
        splits=splits if known["splits"] is None else cells("splits"),
        classes=tuple(classes) if classes else None,
        blocks=rows,
        names=names,
        left_out=left_out,
    )


def _first(batch: Any, name: str) -> np.ndarray:
    return batch.column(batch.schema.get_field_index(name)).drop_null().to_numpy(zero_copy_only=False)


def _numbers(batch: Any, is_list: bool, place: Path, done: int) -> np.ndarray:
    """The features of a batch, (n, D), float32."""
    if any(column.null_count for column in batch.columns):
        raise InputError(f"{place} has missing features in rows {done} to {done + batch.num_rows - 1}")
    if not is_list:
        return np.stack([c.to_numpy(zero_copy_only=False) for c in batch.columns], axis=1).astype(np.float32)
    column = batch.column(0)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if batch.num_rows and (len(flat) % batch.num_rows or len({len(row) for row in column}) > 1):
        raise InputError(f"{place} has features of several lengths in rows {done} to {done + batch.num_rows - 1}")
    return flat.reshape(batch.num_rows, -1).astype(np.float32, copy=False)


CSV = Format(
    takes=".csv (or .tsv)", claims=lambda p: p.suffix.lower() in (".csv", ".tsv") and p.is_file(), read=read_csv
)
PARQUET = Format(takes=".parquet", claims=lambda p: p.suffix.lower() == ".parquet" and p.is_file(), read=read_parquet)
DATASET = Format(
    takes="a folder of Hugging Face's datasets",
    claims=lambda p: (p / "dataset_dict.json").exists() or (p / "state.json").exists(),
    read=read_dataset,
)
