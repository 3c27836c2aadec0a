"""Rows and their fingerprints: the identity of a feature cache, whatever pieces it lies in.

Each row has a SHA-256 of its own, over its label, its path, and its features as they are stored; the file keeps it. The
content of a cache, or of several files that make one, is identified by the SHA-256 over these, so joining and comparing
caches reads 32 bytes a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import h5py
import numpy as np

from features.sources.catalogue import SPLITS
from features.util.provenance import canonical_json

# Rows are read and copied this many bytes at a time, so that memory does not grow with the file.
BLOCK_BYTES = 1 << 23


def row_digests(
    paths: Sequence[bytes], labels: Sequence[int] | np.ndarray, features: np.ndarray, views: np.ndarray | None
) -> np.ndarray:
    """SHA-256 of each row.

    Args:
        paths: n paths, in UTF-8.
        labels: Their labels.
        features: Shape (n, D), in the type in which they are stored.
        views: Shape (n, V, D), likewise, or None.

    Returns:
        Shape (n, 32), uint8.
    """
    values = [_bytes_of(array) for array in (features, views) if array is not None]
    digests = []
    for index, (label, path) in enumerate(zip(np.asarray(labels).tolist(), paths, strict=True)):
        digest = hashlib.sha256(b"%d\0%b\0" % (label, path))
        for data, size in values:
            digest.update(data[index * size : (index + 1) * size])
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _bytes_of(array: np.ndarray) -> tuple[memoryview, int]:
    """The bytes of an array, and how many of them a row has. Slices of a view take a third of an array's time."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat.data, array.itemsize * int(np.prod(array.shape[1:]))


def content_sha256(files: Sequence[h5py.File], classes: Sequence[str]) -> str:
    """Fingerprint over all rows of open caches, taken as one, and their classes: equal for equal content, in whatever
    files it lies and of whatever format they are."""
    digest = hashlib.sha256(canonical_json([list(classes), _shapes(files)]).encode())
    for split in SPLITS:
        for file in files:
            if split in file:
                for block in _stored_digests(file[split]):
                    digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def row_blocks(dataset: h5py.Dataset) -> Iterator[tuple[slice, np.ndarray]]:
    """A data set's rows in order, at most ``BLOCK_BYTES`` at a time; in whole chunks where these are smaller."""
    row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    fitting = max(1, BLOCK_BYTES // row_bytes)
    rows = fitting // chunk * chunk or fitting
    for start in range(0, len(dataset), rows):
        part = slice(start, min(start + rows, len(dataset)))
        yield part, dataset[part]


def computed_digests(group: h5py.Group) -> Iterator[tuple[slice, np.ndarray]]:
    """The fingerprints of a split's rows, computed from what the file holds."""
    for rows, features in row_blocks(group["features"]):
        views = group["views"][rows] if "views" in group else None
        yield rows, row_digests(group["paths"][rows].tolist(), group["labels"][rows], features, views)


def _stored_digests(group: h5py.Group) -> Iterator[np.ndarray]:
    # Files of formats 1 and 2 keep none.
    blocks = row_blocks(group["rows"]) if "rows" in group else computed_digests(group)
    return (block for _, block in blocks)


def _shapes(files: Sequence[h5py.File]) -> Mapping[str, list[object]]:
    """For each split: the number of rows, of features and of views, and the type of a feature."""
    shapes = {}
    for split in SPLITS:
        groups = [file[split] for file in files if split in file]
        if groups:
            features, views = groups[0]["features"], groups[0].get("views")
            rows = sum(len(group["features"]) for group in groups)
            shapes[split] = [rows, features.shape[1], 0 if views is None else views.shape[1], str(features.dtype)]
    return shapes
