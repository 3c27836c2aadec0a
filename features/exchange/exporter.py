"""``python -m features export``: the rows of a cache as a file for other programs.

In: a cache. Out: ``.npz``, ``.parquet`` or ``.csv`` with features, labels by name, ids and splits, whole or not at all.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.rows import row_blocks
from features.cache.store import shard_files, verify_features
from features.cache.writer import split_groups
from features.config import ExportRowsConfig
from features.util.errors import InputError, need
from features.util.files import write_atomically

Write = Callable[[Path, FeatureFile], None]


def export_features(config: ExportRowsConfig) -> None:
    """Write the rows of a verified cache.

    Raises:
        InputError: if the cache can't be read, or the file is of no known format.
    """
    write = WRITERS.get(config.to.suffix.lower())
    if write is None:
        raise InputError(f"--to is {config.to}; its name must end with one of {', '.join(WRITERS)}")
    if not config.to.absolute().parent.is_dir():
        raise InputError(f"--to is {config.to}, and there is no folder {config.to.parent}; make it first")
    found = verify_features(config.file)
    write_atomically(config.to, lambda part: write(part, found))
    rows = sum(rows for rows, _ in found.shapes.values())
    print(f"{config.to}: {rows} rows of {config.file}, {config.to.stat().st_size:,} bytes")


def _blocks(found: FeatureFile) -> Iterator[tuple[str, np.ndarray, np.ndarray, list[str]]]:
    """Split, features (n, D), labels (n,) and ids of a block of rows at a time."""
    for split, group in split_groups(shard_files(found.path)):
        for rows, block in row_blocks(group["features"]):
            yield split, block, group["labels"][rows], [path.decode() for path in group["paths"][rows].tolist()]


def _write_npz(part: Path, found: FeatureFile) -> None:
    labels = [
        (split, group["labels"][()], group["paths"].asstr()[()])
        for split, group in split_groups(shard_files(found.path))
    ]
    rows = sum(len(of_group) for _, of_group, _ in labels)
    width = next(iter(found.shapes.values()))[1]
    arrays = {
        "labels": np.concatenate([of_group for _, of_group, _ in labels]),
        "ids": np.concatenate([paths.astype(str) for *_, paths in labels]),
        "splits": np.repeat([split for split, *_ in labels], [len(of_group) for _, of_group, _ in labels]),
        "classes": np.array(found.provenance.classes),
    }
    with zipfile.ZipFile(part, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
        # Features block by block, so that they never lie in memory as a whole.
        with archive.open("features.npy", "w", force_zip64=True) as stream:
            header = {"descr": np.dtype(found.provenance.dtype).str, "fortran_order": False, "shape": (rows, width)}
            np.lib.format.write_array_header_1_0(stream, header)
            for _, block, *_ in _blocks(found):
                stream.write(np.ascontiguousarray(block).data)


def _write_parquet(part: Path, found: FeatureFile) -> None:
    pyarrow, parquet = (need(module, "writing .parquet needs") for module in ("pyarrow", "pyarrow.parquet"))
    width = next(iter(found.shapes.values()))[1]
    number = pyarrow.float16() if found.provenance.dtype == "float16" else pyarrow.float32()
    text = pyarrow.string()
    names = {"id": text, "split": text, "label": text, "features": pyarrow.list_(number, width)}
    with parquet.ParquetWriter(part, pyarrow.schema(names)) as writer:
        for split, block, labels, ids in _blocks(found):
            features = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.reshape(-1)), width)
            columns = [ids, [split] * len(ids), [found.provenance.classes[k] for k in labels.tolist()], features]
            writer.write_batch(pyarrow.record_batch(columns, schema=pyarrow.schema(names)))


def _write_csv(part: Path, found: FeatureFile) -> None:
    width = next(iter(found.shapes.values()))[1]
    with part.open("w", newline="", encoding="utf-8") as file:
        table: Any = csv.writer(file)
        table.writerow(["id", "split", "label", *(f"f{k}" for k in range(width))])
        for split, block, labels, ids in _blocks(found):
            for name, label, row in zip(ids, labels.tolist(), block, strict=True):
                # The shortest text that gives the number again.
                table.writerow([name, split, found.provenance.classes[label], *map(str, row)])


WRITERS: dict[str, Write] = {".npz": _write_npz, ".parquet": _write_parquet, ".csv": _write_csv}
