"""Rows of a cache, or of its shards, as batches in a shuffled order, without ever holding more than a few windows.

In: a verified data set and an :class:`~pipeline.training.streaming.order.Order`. Out: what
:class:`pipeline.training.samples.Samples` gives of rows in memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
import torch

from features.cache.featureset import FeatureFile
from features.cache.store import DamagedCache, shard_files
from features.util.errors import first_line
from pipeline.training.streaming.ahead import DEPTH, ahead, short_waits
from pipeline.training.streaming.order import Order

OPEN_FILES = 64
ROWS_AT_ONCE = 1024
"""Rows that a head classifies at once where it learns nothing."""
SCORED_AT_ONCE = 1 << 16


class Batch(NamedTuple):
    """Features of shape (B, n_features), float32, and labels (B,), int64."""

    features: torch.Tensor
    labels: torch.Tensor


class StreamedSamples:
    """The rows of one split, read from the disk as they are needed.

    Args:
        found: The data set, verified.
        split: ``train`` or ``val``.
        order: How rows are shuffled.
        parts: The parts of the order that are read here; all of them by default.

    Attributes:
        scored_at_once: Rows whose logits are kept until they are scored.
    """

    scored_at_once = SCORED_AT_ONCE

    def __init__(self, found: FeatureFile, split: str, order: Order, parts: Sequence[int] | None = None) -> None:
        self.order = order
        self.parts = range(order.parts) if parts is None else parts
        self._split = split
        self._files = []
        rows = []
        for file in shard_files(found.path):
            with h5py.File(file, "r", locking=False) as cache:
                if split in cache:
                    self._files.append(file)
                    rows.append(len(cache[split]["features"]))
                    self._dtype = cache[split]["features"].dtype
        self._width = found.shapes[split][1]
        self._blocks = order.blocks(rows)

    def batches(self, seed: int, epoch: int, batch: int) -> Iterator[Batch]:
        """The batches of an epoch: of ``batch`` rows of all parts, those of the parts that are read here."""
        from tqdm import tqdm

        each = batch // self.order.parts
        streams = [_split(ahead(self._shuffled(seed, epoch, part, each)), each) for part in self.parts]
        batches = streams[0] if len(streams) == 1 else map(_joined, zip_longest(*streams))
        total = sum(_rows(self.order.dealt(self._blocks, seed, epoch, part)) for part in self.parts)
        shown = {"unit": "row", "unit_scale": True, "desc": f"epoch {epoch + 1}", "leave": False, "disable": None}
        with short_waits(), tqdm(total=total, **shown) as bar:
            for found in batches:
                yield found
                bar.update(len(found.labels))

    def steps(self, seed: int, epoch: int, batch: int) -> list[int]:
        """The number of rows, of all parts, that each step of an epoch learns from."""
        each = batch // self.order.parts
        rows = []
        for part in range(self.order.parts):
            blocks = self.order.dealt(self._blocks, seed, epoch, part)
            rows.append(_rows(blocks))
        return [sum(min(max(n - start, 0), each) for n in rows) for start in range(0, max(rows), each)]

    def blocks(self) -> Iterator[Batch]:
        """All rows of the parts that are read here, in their order on the disk."""
        for part in self.parts:
            yield from _split(ahead(self._in_order(self._blocks[part :: self.order.parts])), ROWS_AT_ONCE)

    def _shuffled(self, seed: int, epoch: int, part: int, batch: int) -> Generator[Batch, None, None]:
        """The windows of a part: whole batches, except at the end of the last."""
        blocks = self.order.dealt(self._blocks, seed, epoch, part)
        windows = list(self.order.windows(blocks))
        most = max(map(_rows, windows), default=0)
        stored = np.empty((most, self._width), self._dtype)
        ring = [torch.empty(most + batch - 1, self._width) for _ in range(DEPTH + 2)]
        drawn = torch.empty(most if self._dtype != np.float32 else 0, self._width, dtype=_torch(self._dtype))
        rest, rest_labels = ring[0][:0], torch.empty(0, dtype=torch.int64)
        made = 0
        with _Files(self._files, self._split) as files:
            for index, window in enumerate(windows):
                labels = torch.from_numpy(files.read(window, stored))
                n = len(labels)
                order = torch.from_numpy(self.order.rows(seed, epoch, part, index, n))
                features = ring[made % len(ring)][: len(rest) + n]
                features[: len(rest)] = rest
                if len(drawn):
                    # Stored rows are drawn before they are widened, which moves half the bytes.
                    torch.index_select(torch.from_numpy(stored[:n]), 0, order, out=drawn[:n])
                    features[len(rest) :] = drawn[:n]
                else:
                    torch.index_select(torch.from_numpy(stored[:n]), 0, order, out=features[len(rest) :])
                labels = torch.cat([rest_labels, labels[order]])
                whole = len(labels) if window is windows[-1] else len(labels) // batch * batch
                rest, rest_labels = features[whole:], labels[whole:]
                if whole:
                    made += 1
                    yield Batch(features[:whole], labels[:whole])

    def _in_order(self, blocks: np.ndarray) -> Generator[Batch, None, None]:
        with _Files(self._files, self._split) as files:
            for window in self.order.windows(blocks):
                stored = np.empty((_rows(window), self._width), self._dtype)
                labels = files.read(window, stored)
                yield Batch(torch.from_numpy(stored).float(), torch.from_numpy(labels))


class _Files:
    """The files of a data set, of which a few are open at a time."""

    def __init__(self, files: Sequence[Path], split: str) -> None:
        self._files = files
        self._split = split
        self._open: dict[int, h5py.File] = {}

    def __enter__(self) -> Self:
        return self

    def read(self, blocks: np.ndarray, into: np.ndarray) -> np.ndarray:
        """Read blocks, one after the other, into an array of the stored type; returns their labels.

        Raises:
            DamagedCache: if a file can no longer be read.
        """
        labels = np.empty(_rows(blocks), np.int64)
        done = 0
        for index, start, stop in blocks.tolist():
            try:
                group = self._group(index)
                there, here = np.s_[start:stop], np.s_[done : done + stop - start]
                group["features"].read_direct(into, there, here)
                group["labels"].read_direct(labels, there, here)
            except Exception as error:  # as in features.cache.store, h5py raises a dozen kinds
                raise DamagedCache(f"{self._files[index]} can't be read any more ({first_line(error)})") from error
            done += stop - start
        return labels

    def _group(self, index: int) -> Any:
        if index not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[index] = h5py.File(self._files[index], "r", locking=False)
        return self._open[index][self._split]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.close()


def _rows(blocks: np.ndarray) -> int:
    return int((blocks[:, 2] - blocks[:, 1]).sum())


def _joined(parts: Sequence[Batch | None]) -> Batch:
    features, labels = zip(*(part for part in parts if part is not None), strict=True)
    return Batch(torch.cat(features), torch.cat(labels))


def _split(windows: Iterator[Batch], rows: int) -> Iterator[Batch]:
    for features, labels in windows:
        yield from map(Batch, features.split(rows), labels.split(rows))


def _torch(dtype: np.dtype) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
