"""Files of columns: ``.csv``, ``.parquet``, and folders that Hugging Face's ``datasets`` saved.

Features are one column of lists, or all columns of numbers that are nothing else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from features.exchange.table import SPLIT_NAMES, USUAL, Columns, Format, Table, find_column, not_found
from features.util.errors import InputError, first_line, need

ROWS = 4096
"""Rows of a table that are read at once."""
Batches = Callable[[Sequence[str]], Iterator[Any]]


def read_csv(file: Path, columns: Columns) -> Table:
    """The table in a ``.csv`` (UTF-8, with a header)."""
    with _csv(file) as text:
        header = [name.strip() for name in next(csv.reader(text), [])]
        row = next(csv.reader(text), [])
    known = {kind: find_column(columns, kind, header, file) for kind in ("labels", "ids", "splits")}
    others = [name for name in header if name not in known.values()]
    numbers = [name for name, cell in zip(header, row, strict=False) if name in others and _is_number(cell)]
    if columns.features:
        numbers = [name for name in numbers if name.startswith(columns.features)]
    if not numbers:
        raise not_found(file, "features", header)
    places = {kind: header.index(name) for kind, name in known.items() if name is not None}
    wanted = [header.index(name) for name in numbers]
    cells: dict[str, list[str]] = {kind: [] for kind in places}
    for of_row in _rows(file, len(header)):
        for kind, place in places.items():
            cells[kind].append(of_row[place])

    def blocks() -> Iterator[np.ndarray]:
        rows = _rows(file, len(header))
        done = 0
        while block := list(islice(rows, ROWS)):
            try:
                yield np.array([[of_row[k] for k in wanted] for of_row in block], dtype=np.float32)
            except ValueError as error:
                raise InputError(f"{file}: in rows {done} to {done + len(block) - 1}: {error}") from error
            done += len(block)

    found: dict[str, Any] = {kind: np.array(values) for kind, values in cells.items()}
    return Table(
        width=len(numbers),
        labels=found.get("labels"),
        ids=found.get("ids"),
        splits=found.get("splits"),
        classes=None,
        blocks=blocks,
    )


def _csv(file: Path) -> Any:
    return file.open(newline="", encoding="utf-8-sig")


def _rows(file: Path, n_cells: int) -> Iterator[list[str]]:
    try:
        with _csv(file) as text:
            reader = csv.reader(text, strict=True)
            next(reader, None)
            for row in reader:
                if len(row) != n_cells:
                    raise InputError(f"line {reader.line_num} of {file} has {len(row)} cells, the header has {n_cells}")
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is no CSV in UTF-8: line {reader.line_num}: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
    if (folder / "dataset_dict.json").exists():
        there = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        order = [name for name in SPLIT_NAMES if name in there]
        validation = [name for name in order if SPLIT_NAMES[name] == "val"]
        parts = {name: folder / name for name in order if name not in validation[1:]}
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
    return _of_batches(schema, batches, columns, folder, splits, kinds)


def _of_batches(
    schema: Any, batches: Batches, columns: Columns, place: Path, splits: np.ndarray | None, kinds: dict[str, Any]
) -> Table:
    from pyarrow import types

    there = list(schema.names)
    known = {kind: find_column(columns, kind, there, place) for kind in ("labels", "ids", "splits")}
    lists = [f.name for f in schema if types.is_list(f.type) or types.is_fixed_size_list(f.type)]
    usual = next((name for name in USUAL["features"] if name in lists), None)
    features = columns.features if columns.features in there else usual
    numbers = [f.name for f in schema if types.is_floating(f.type) or types.is_integer(f.type)]
    numbers = [name for name in numbers if name not in known.values() and name.startswith(columns.features or "")]
    alone = lists[:1] if len(lists) == 1 and not numbers else numbers
    chosen = [str(features)] if features in lists else alone
    if not chosen:
        raise not_found(place, "features", there)

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
    names = (kinds.get(known["labels"] or "") or {}).get("names")
    return Table(
        width=first.shape[1],
        labels=cells("labels"),
        ids=cells("ids"),
        splits=splits if known["splits"] is None else cells("splits"),
        classes=tuple(names) if names else None,
        blocks=rows,
    )


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


CSV = Format(takes=".csv", claims=lambda p: p.suffix.lower() == ".csv" and p.is_file(), read=read_csv)
PARQUET = Format(takes=".parquet", claims=lambda p: p.suffix.lower() == ".parquet" and p.is_file(), read=read_parquet)
DATASET = Format(
    takes="a folder of Hugging Face's datasets",
    claims=lambda p: (p / "dataset_dict.json").exists() or (p / "state.json").exists(),
    read=read_dataset,
)
