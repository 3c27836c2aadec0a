"""Writing a feature cache: whole or not at all, verified before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zlib import crc32

import h5py
import numpy as np

from features.cache.featureset import FeatureFile, Split
from features.cache.partfile import PartFile
from features.cache.records import Provenance
from features.cache.rows import content_sha256, row_blocks, row_digests
from features.cache.store import FORMAT_VERSION, JSON_FIELDS, open_cache, seal_of, verify_file
from features.sources.catalogue import SPLITS
from features.util.errors import InputError
from features.util.files import sync_folder
from features.util.provenance import canonical_json

CHUNK_ROWS = 64


class FeatureWriter:
    """Writes a cache beside its final name; the name appears only when every row is there and has been read back.

    Use as a context manager; leaving it by an exception removes the unfinished file and touches nothing else.

    Args:
        path: The file to make.
        paths: For each split, the relative paths in row order; a split without rows is left out.
        labels: For each split, their labels.
        width: Features an image.
        dtype: How features are stored, ``float32`` or ``float16``.
        views: Augmented views of each training image.
        digests: For each split, SHA-256 of its images, shape (N, 32), uint8; or nothing.

    Raises:
        InputError: if another process is writing this very file.
        OSError: as soon as the disk is full or fails, here and in the methods.
    """

    def __init__(
        self,
        path: Path,
        paths: Mapping[str, Sequence[str]],
        labels: Mapping[str, Sequence[int] | np.ndarray],
        width: int,
        *,
        dtype: str = "float32",
        views: int = 0,
        digests: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = PartFile(path)
        self._beside = ThreadPoolExecutor(max_workers=2, thread_name_prefix="cache")
        self._digesting: Future[None] | None = None
        # Format 1.10 puts a checksum on HDF5's own structures too.
        self._file = h5py.File(self._part, "w", libver=("v110", "v110"))
        self._dtype = np.dtype(dtype)
        self._labels: dict[str, np.ndarray] = {}
        self._paths: dict[str, np.ndarray] = {}
        self._rows: dict[str, np.ndarray] = {}
        self._unwritten: dict[str, np.ndarray] = {}
        self._checksums: dict[tuple[str, int, int], int] = {}
        try:
            for split in SPLITS:
                if rows := len(paths.get(split, ())):
                    self._labels[split] = np.asarray(labels[split], dtype=np.int64)
                    self._paths[split] = _texts(paths[split])
                    self._rows[split] = np.zeros((rows, 32), np.uint8)
                    _put(self._file, f"{split}/labels", self._labels[split])
                    _put(self._file, f"{split}/paths", self._paths[split])
                    if digests is not None:
                        _put(self._file, f"{split}/digests", digests[split])
                    self._create_rows(f"{split}/features", (rows, width), dtype)
                    if views and split == "train":
                        self._create_rows(f"{split}/views", (rows, views, width), dtype)
        except BaseException:
            self._discard()
            raise

    def _create_rows(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        chunk = max(1, min(CHUNK_ROWS // (shape[1] if len(shape) == 3 else 1), shape[0]))
        self._file.create_dataset(name, shape, dtype, chunks=(chunk, *shape[1:]))
        self._unwritten[name] = np.ones(shape[0], dtype=bool)

    def __enter__(self) -> Self:
        return self

    def write(self, split: str, start: int, features: np.ndarray, views: np.ndarray | None = None) -> None:
        """Put rows at ``start`` of a split.

        Args:
            split: ``train`` or ``val``.
            start: The first row.
            features: Shape (n, D), float32.
            views: Shape (n, V, D), float32, where the file has them.
        """
        rows = slice(start, start + len(features))
        stored = {"features": features.astype(self._dtype, copy=False)}
        if views is not None:
            stored["views"] = views.astype(self._dtype, copy=False)
        # In a thread, while HDF5 writes them; of one block at a time, so that memory does not grow.
        self._end_of_digests()
        self._digesting = self._beside.submit(self._digest, split, rows, stored)
        for name, block in stored.items():
            self._file[f"{split}/{name}"][rows] = block
            self._part.raise_failure()
            self._unwritten[f"{split}/{name}"][rows] = False

    def _digest(self, split: str, rows: slice, stored: Mapping[str, np.ndarray]) -> None:
        paths, labels = self._paths[split][rows].tolist(), self._labels[split][rows]
        self._rows[split][rows] = row_digests(paths, labels, stored["features"], stored.get("views"))
        for name, block in stored.items():
            self._checksums[f"{split}/{name}", rows.start, rows.stop] = crc32(np.ascontiguousarray(block).data)

    def _end_of_digests(self) -> None:
        if self._digesting is not None:
            self._digesting.result()

    def finish(self, provenance: Provenance, known_as: Sequence[str] = ()) -> FeatureFile:
        """Write the attributes, flush to disk, read everything back, and only then take the final name.

        Args:
            provenance: Where the rows come from.
            known_as: Fingerprints under which earlier versions of this program recorded the same content.

        Raises:
            AssertionError: if a row was not written.
            InputError: if the disk gives other rows back.
        """
        missing = [name for name, rows in self._unwritten.items() if rows.any()]
        assert not missing, f"not every row was written: {', '.join(missing)}"
        self._end_of_digests()
        for split, digests in self._rows.items():
            _put(self._file, f"{split}/rows", digests)
        if provenance.skipped:
            _put(self._file, "skipped/paths", _texts([each.path for each in provenance.skipped]))
            _put(self._file, "skipped/reasons", _texts([each.reason for each in provenance.skipped]))
        attributes = self._file.attrs
        values = provenance.record() | {"known_as": list(known_as)}
        if provenance.layer is None:
            del values["layer"]
        for name, value in values.items():
            if isinstance(value, list) and name != "skipped":
                attributes.create(name, value, dtype=h5py.string_dtype())
            elif name != "skipped":
                attributes[name] = canonical_json(value) if name in JSON_FIELDS else value
        attributes["format_version"] = FORMAT_VERSION if provenance.layer else 3
        self._file.flush()
        self._part.raise_failure()
        attributes["content_sha256"] = content_sha256([self._file], provenance.classes)
        attributes["complete"] = True
        self._file.close()
        self._part.raise_failure()
        # The bytes go to the disk while they are read back and hashed; then the seal follows them.
        seal, synced = (
            self._beside.submit(*work) for work in ((seal_of, self._part.path), (os.fsync, self._part.fileno()))
        )
        self._refuse_other_rows()
        synced.result()
        self._part.seek(0, os.SEEK_END)
        self._part.write(seal.result())
        self._part.raise_failure()
        os.fsync(self._part.fileno())
        made = verify_file(self._part.path, sealed=True)
        self._part.path.replace(self.path)
        sync_folder(self.path.parent)
        return replace(made, path=self.path)

    def _refuse_other_rows(self) -> None:
        """Raise an InputError unless the disk gives back what was written."""
        with open_cache(self._part.path) as file:
            wrong = [
                name
                for (name, start, stop), checksum in self._checksums.items()
                if crc32(file[name][start:stop].data) != checksum
            ]
            for split, digests in self._rows.items():
                written = {"labels": self._labels[split], "paths": self._paths[split], "rows": digests}
                wrong += [name for name, values in written.items() if not np.array_equal(file[split][name][()], values)]
        if wrong:
            raise InputError(
                f"the disk gives other {wrong[0]} back than were written to {self._part.path}; check the disk"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        # After a failure HDF5 may complain again as it closes; the first failure is the one to report.
        with suppress(Exception):
            self._file.close()
        self._beside.shutdown(cancel_futures=True)
        self._part.discard()


def write_features(path: Path, provenance: Provenance, splits: Mapping[str, Split]) -> FeatureFile:
    """Write rows that are already at hand, as :class:`FeatureWriter` does."""
    digests = {name: split.digests for name, split in splits.items() if split.digests is not None}
    some = next(iter(splits.values()))
    views = splits["train"].views if "train" in splits else None
    with FeatureWriter(
        path,
        {name: split.paths for name, split in splits.items()},
        {name: split.labels for name, split in splits.items()},
        some.features.shape[1],
        dtype=provenance.dtype,
        views=0 if views is None else views.shape[1],
        digests=digests or None,
    ) as writer:
        for name, split in splits.items():
            writer.write(name, 0, split.features, split.views)
        return writer.finish(provenance)


def join(path: Path, parts: Sequence[Path], provenance: Provenance, known_as: Sequence[str] = ()) -> FeatureFile:
    """Write the rows of verified files, one after the other, as one file, a block at a time: memory holds their labels
    and paths, never their features."""
    paths: dict[str, list[str]] = {split: [] for split in SPLITS}
    labels: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    digests: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    width = views = 0
    for split, group in split_groups(parts):
        paths[split] += [line.decode() for line in group["paths"][()].tolist()]
        labels[split].append(group["labels"][()])
        if "digests" in group:
            digests[split].append(group["digests"][()])
        width = group["features"].shape[1]
        views = group["views"].shape[1] if "views" in group else views
    with FeatureWriter(
        path,
        paths,
        {split: np.concatenate(some) for split, some in labels.items() if some},
        width,
        dtype=provenance.dtype,
        views=views,
        digests={split: np.concatenate(some) for split, some in digests.items() if some} or None,
    ) as writer:
        start = dict.fromkeys(SPLITS, 0)
        for split, group in split_groups(parts):
            for rows, block in row_blocks(group["features"]):
                of_views = group["views"][rows] if "views" in group else None
                writer.write(split, start[split] + rows.start, block, of_views)
            start[split] += len(group["features"])
        return writer.finish(provenance, known_as)


def split_groups(files: Sequence[Path]) -> Iterator[tuple[str, h5py.Group]]:
    """The splits of files, one file after the other, each open while it is in use."""
    for path in files:
        with open_cache(path) as file:
            for split in SPLITS:
                if split in file:
                    yield split, file[split]


def _put(file: h5py.File, name: str, values: Any) -> None:
    file.create_dataset(name, data=values, chunks=(len(values), *values.shape[1:]))


def _texts(lines: Sequence[str]) -> np.ndarray:
    # A fixed width: HDF5 would store strings of variable length one by one, on a heap.
    encoded = [line.encode() for line in lines]
    return np.asarray(encoded, dtype=h5py.string_dtype("utf-8", length=max(1, *map(len, encoded), 1)))
