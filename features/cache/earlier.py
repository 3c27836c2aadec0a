"""Fingerprints of files of formats 1 and 2.

Format 1 has one fingerprint over everything. Format 2 has the seal, ``rows_sha256`` over the values of every data set,
and ``content_sha256`` over the attributes, ``rows_sha256`` among them, so a new date, note or place changed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import h5py
import numpy as np

from features.cache.records import Provenance
from features.cache.rows import row_blocks
from features.util.provenance import canonical_json

# Fields of a provenance that format 1 did not have.
SINCE_2 = ("selection", "dtype", "runtime", "views", "skipped", "shard")
SINCE_3 = ("taken_over",)
# Format 4 is format 3 of a layer's features: an earlier version would take them for the network's own.
SINCE_4 = ("layer",)


def recorded_content(file: h5py.File, provenance: Provenance, sealed: bool) -> str | None:
    """The fingerprint by which earlier versions know a file of format 1 or 2; None if its contents do not match."""
    attributes = dict(file.attrs)
    recorded: str = attributes["content_sha256"]
    if attributes["format_version"] == 1:
        return recorded if recorded == _content_of_1(file, provenance) else None
    whole = sealed and attributes["rows_sha256"] == _rows_of_2(file) and recorded == _content_of_2(attributes)
    return recorded if whole else None


def _content_of_1(file: h5py.File, provenance: Provenance) -> str:
    said = provenance.record()
    named = {item.name: said[item.name] for item in fields(Provenance) if item.name not in SINCE_2 + SINCE_3 + SINCE_4}
    digest = hashlib.sha256(canonical_json([1, named]).encode())
    for name in sorted(file):
        split = file[name]
        features, labels = split["features"][()], split["labels"][()]
        paths = [path.decode() for path in split["paths"][()].tolist()]
        shapes = [str(features.dtype), list(features.shape), str(labels.dtype)]
        digest.update(canonical_json([name, shapes, paths]).encode())
        digest.update(features.tobytes())
        digest.update(labels.tobytes())
    return digest.hexdigest()


def _rows_of_2(file: h5py.File) -> str:
    digest = hashlib.sha256()
    for name in sorted(f"{group}/{name}" for group in file for name in file[group]):
        dataset = file[name]
        is_text = dataset.dtype.kind in "SO"
        kind = "text" if is_text else str(dataset.dtype)
        digest.update(canonical_json([name, kind, list(dataset.shape)]).encode())
        for _, block in row_blocks(dataset):
            digest.update(b"".join(line + b"\n" for line in block.tolist()) if is_text else block.data)
    return digest.hexdigest()


def _content_of_2(attributes: Mapping[str, Any]) -> str:
    covered = {name: value for name, value in attributes.items() if name not in ("complete", "content_sha256")}
    plain = {
        name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for name, value in covered.items()
    }
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()
