"""``python -m features import FILE``: rows of features from a file → a cache, as if stage 1 had made it.

In: an :class:`features.config.ImportConfig`. Out: a verified cache, whose rows stand in the order of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.records import Provenance
from features.cache.target import existing_cache, refuse_target
from features.cache.writer import FeatureWriter
from features.config import ImportConfig
from features.exchange.arrays import HDF5, NPY, NPZ, TORCH
from features.exchange.bundled import BUNDLED, PREFIX
from features.exchange.columns import CSV, DATASET, PARQUET
from features.exchange.pitfalls import Pitfalls
from features.exchange.scaling import Scaling
from features.exchange.table import (
    Columns,
    Format,
    Table,
    class_labels,
    not_found,
    own_splits,
    row_names,
)
from features.sources.catalogue import SPLITS, Selection, held_out, refuse_classes
from features.util.errors import InputError, shortened
from features.util.provenance import canonical_json, file_sha256, versions

# A new format is a module like these, and an entry here.
FORMATS: tuple[Format, ...] = (NPZ, NPY, PARQUET, CSV, HDF5, TORCH, DATASET, BUNDLED)


def import_features(config: ImportConfig) -> FeatureFile:
    """Bring the cache ``config.out`` up to date with a file of rows.

    Raises:
        InputError: for a file or a target that can't be used; an earlier cache is then untouched.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fingerprint") as beside:
        return _import(config, config.file.expanduser(), beside)


def _import(config: ImportConfig, place: Path, beside: Executor) -> FeatureFile:
    started = time.perf_counter()
    refuse_target(config.out, shards=False)
    existing = existing_cache(config.out, shards=False)
    wanted = Columns(features=config.columns, labels=config.label, ids=config.id, splits=config.split_column)
    table = read_table(place, wanted)
    # While rows are read and written; only a cache that may be up to date has to wait for it.
    contents = beside.submit(_contents_sha256, place)
    if table.labels is None:
        raise not_found(place, "labels", [*table.names, *(name for name, _ in table.left_out)])
    if table.left_out:
        named = [f"{name} ({why})" if why else name for name, why in table.left_out]
        print(f"left out, because not used as features: {shortened(named)}")
    classes, labels = class_labels(table, place)
    names = row_names(table, len(labels), place)
    training = _training(config, table, place, classes, labels, names)
    there = {split: {classes[k] for k in np.unique(labels[part])} for split, part in _parts(training).items()}
    refuse_classes(str(place), there, "rows")

    def provenance() -> Provenance:
        fingerprint = _fingerprint(
            contents.result(),
            [labels, training, names, np.array(config.standardize)] + ([np.array(table.names)] if table.names else []),
        )
        return _provenance(config, place, classes, fingerprint)

    if existing is not None and not config.force and _made_from(existing.provenance) == _made_from(provenance()):
        print(f"{existing}: up to date, imported from the same rows")
        return existing
    scaling = Scaling.of(table, training) if config.standardize else None
    made = _write(config, table, place, provenance, labels, names, training, scaling)
    print(f"{made}: imported from {place} in {time.perf_counter() - started:.1f} s")
    return made


def read_table(place: Path, columns: Columns) -> Table:
    """The table in a file of any of ``FORMATS``.

    Raises:
        InputError: if there is none, or it can't be used.
    """
    takes = ", ".join(each.takes for each in FORMATS)
    for each in FORMATS:
        if each.claims(place):
            return each.read(place, columns)
    if not place.exists():
        raise InputError(f"there is no file {place}; rows of features can be imported from {takes}")
    raise InputError(f"{place} is none of the formats that can be imported: {takes}")


def _write(
    config: ImportConfig,
    table: Table,
    place: Path,
    provenance: Callable[[], Provenance],
    labels: np.ndarray,
    names: np.ndarray,
    training: np.ndarray,
    scaling: Scaling | None,
) -> FeatureFile:
    from tqdm import tqdm

    parts = _parts(training)
    pitfalls = Pitfalls()
    with (
        FeatureWriter(
            config.out,
            {split: names[part].tolist() for split, part in parts.items()},
            {split: labels[part] for split, part in parts.items()},
            table.width,
            dtype=config.dtype,
        ) as writer,
        tqdm(total=len(labels), unit="row", desc="import", disable=None) as bar,
    ):
        start = dict.fromkeys(SPLITS, 0)
        done = 0
        for block in table.blocks():
            if block.dtype.kind not in "fiub":
                raise InputError(f"features of {place} are {block.dtype}; numbers are wanted")
            block = _checked(block if scaling is None else scaling(block), done, len(labels), place, config.dtype)
            here = training[done : done + len(block)]
            pitfalls.add(block, here)
            for split, chosen in _parts(here).items():
                of_split = block if chosen.all() else block[chosen]
                if len(of_split):
                    writer.write(split, start[split], of_split)
                    start[split] += len(of_split)
            done += len(block)
            bar.update(len(block))
        if done != len(labels):
            raise InputError(f"{place} has {done} rows of features and {len(labels)} labels")
        made_from = provenance()
        given = json.loads(made_from.transform)
        given |= {"features": table.names} if table.names else {}
        given |= {"scaling": scaling.record()} if scaling is not None else {}
        made = writer.finish(replace(made_from, transform=canonical_json(given)))
    for warning in pitfalls.warnings(scaled=scaling is not None):
        print(f"warning: {warning}")
    return made


def _checked(block: np.ndarray, done: int, total: int, place: Path, dtype: str) -> np.ndarray:
    """A block as float32, if all of it is finite in the type in which it is stored."""
    if done + len(block) > total:
        raise InputError(f"{place} has more rows of features than its {total} labels")
    with np.errstate(over="ignore", invalid="ignore"):
        block = np.ascontiguousarray(block, dtype=np.float32)
        stored = block if dtype == "float32" else block.astype(dtype)
        total_of_all = stored.sum(dtype=np.float32)
    # One finite sum tells that all is finite; else a closer look tells, because the sum itself may be too large.
    if not np.isfinite(total_of_all):
        wrong = ~np.isfinite(stored).all(axis=1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"row {done + row} of {place} is not finite as {dtype}: {block[row][:4].tolist()} …")
    return block


def _training(
    config: ImportConfig,
    table: Table,
    place: Path,
    classes: tuple[str, ...],
    labels: np.ndarray,
    names: np.ndarray,
) -> np.ndarray:
    """Which rows are for training, bool of shape (N,): by the file's own split, else drawn as for pictures."""
    training = own_splits(table, place)
    if training is not None:
        if config.split is not None:
            raise InputError(f"--split is {config.split}, but {place} has its own split; leave --split out")
        return training
    if config.split is None:
        raise InputError(
            f"{place} says of no row whether it is for training or validation; give --split 0.2 (make: "
            'FEATURES_ARGS="--split 0.2") to hold out a fifth of each class'
        )
    if alone := [classes[k] for k in np.flatnonzero(np.bincount(labels) < 2)]:
        raise InputError(
            f"{place} can't be split: of each class one row is for training and one for validation, but "
            f"{len(alone)} of its {len(classes)} classes have only one: {shortened(alone)}. Leave them out, or, where "
            "the labels are a quantity, put ranges of it into classes"
        )
    training = np.ones(len(labels), dtype=bool)
    for k in range(len(classes)):
        of_class = np.flatnonzero(labels == k)
        by_name = dict(zip(names[of_class].tolist(), of_class.tolist(), strict=True))
        training[[by_name[name] for name in held_out(list(by_name), config.split, config.seed)[0]]] = False
    return training


def _parts(training: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows are in each split, from those that are for training."""
    return {"train": training, "val": ~training}


def _provenance(config: ImportConfig, place: Path, classes: tuple[str, ...], fingerprint: str) -> Provenance:
    names = ("columns", "label", "id", "split_column")
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    named = BUNDLED.claims(place)
    drawn_by = Selection(split=config.split, seed=None if config.split is None else config.seed)
    return Provenance(
        classes=classes,
        backbone="",
        weights="",
        weights_sha256="",
        transform=canonical_json(given),
        data=place.name.removeprefix(PREFIX) if named else place.stem,
        images_sha256=fingerprint,
        data_location=str(place) if named else os.path.relpath(place.absolute(), config.out.absolute().parent),
        weights_location="",
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=config.note,
        selection=drawn_by,
        dtype=config.dtype,
    )


def _made_from(provenance: Provenance) -> tuple[object, ...]:
    names = ("backbone", "classes", "images_sha256", "selection", "dtype", "note")
    return tuple(getattr(provenance, name) for name in names)


def _contents_sha256(place: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of a file, or of all files of a folder; of none for a set that comes with scikit-learn."""
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return [(file.name, file_sha256(file)) for file in files]


def _fingerprint(contents: list[tuple[str, str]], arrays: list[np.ndarray]) -> str:
    """Fingerprint of files and of what was read from them."""
    digest = hashlib.sha256()
    for name, sha256 in contents:
        digest.update(f"{name}\0{sha256}\0".encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
