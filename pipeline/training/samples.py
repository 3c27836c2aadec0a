"""The samples of a training, and their order.

In: a feature cache. Out: a :class:`Source` of training samples and one of validation samples: in memory where they fit,
else read from the disk as they are needed. Both give batches in the order that seed and epoch decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from features.cache.featureset import FeatureFile, FeatureSet, Split
from features.cache.store import read_rows
from features.sources.catalogue import SPLITS
from features.util.errors import InputError
from features.util.memory import free_memory, gigabytes
from pipeline.heads.registry import HEADS
from pipeline.training.config import TrainConfig
from pipeline.training.streaming.order import Order
from pipeline.training.streaming.stream import StreamedSamples

SHARE = 0.8
"""Of the free memory: what rows may take."""


class Source(Protocol):
    """Samples, wherever they are."""

    @property
    def scored_at_once(self) -> float:
        """Rows whose logits are kept until they are scored."""

    def batches(self, seed: int, epoch: int, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Features (B, n_features) and labels (B,) of each step of an epoch; its last batch may be smaller."""

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples in their order."""


class Samples(NamedTuple):
    """Features (N, n_features) and labels (N,), int64, in memory: a :class:`Source`.

    Features in several views have shape (N, views, n_features); samples of several networks have an axis in front.
    """

    features: torch.Tensor
    labels: torch.Tensor

    @property
    def scored_at_once(self) -> float:
        """All of them."""
        return math.inf

    def batches(self, seed: int, epoch: int, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch, each sample in one of its views."""
        order = epoch_order(seed, epoch, len(self.labels))
        features = self.features
        if features.ndim == 3:
            features = features[order, drawn_views(seed, epoch, *features.shape[:2])[order]]
        else:
            features = features[order]
        return zip(features.split(batch), self.labels[order].split(batch), strict=True)

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples at once."""
        yield self.features, self.labels


class Rows(NamedTuple):
    """The samples of a training.

    Attributes:
        train, val: Of each split.
        order: The order of training rows that are read from the disk; None for rows in memory.
    """

    train: Source
    val: Source
    order: Order | None


def open_rows(config: TrainConfig, found: FeatureFile) -> Rows:
    """The samples of a training: in memory where they fit, else streamed.

    Raises:
        InputError: if they don't fit and the head needs them in memory, or the cache has fewer views than asked for.
    """
    # An epoch copies the training rows in its order.
    needed = 2 * found.memory("train") + found.memory("val")
    allowed = allowed_memory() if config.memory_limit is None else 1e9 * config.memory_limit
    parts = config.workers if config.engine == "ray" else 1
    if needed <= allowed and config.engine == "local":
        features = read_rows(found)
        return Rows(training_samples(config, features), samples_of(features.val), None)
    why = f"{gigabytes(needed)} of memory would be needed for {found.path} and {gigabytes(allowed)} may be taken"
    if config.engine == "ray":
        why = f"--workers is {parts}, which share the rows of {found.path}"
    if HEADS[config.head].prepared or config.views:
        flags = f"--views {config.views}" if config.views else f"--head {config.head}"
        raise InputError(
            f"{why}, but {flags} needs all rows in memory: raise --memory-limit, make a cache of fewer rows, or leave "
            "that flag out"
        )
    order = Order.of(found.shapes["train"][0], _row_bytes(found), parts)
    print(
        f"{why}: rows are read from the disk, shuffled in blocks of {order.block_rows:,} and within windows of "
        f"{order.window_blocks} blocks"
    )
    return streamed(found, order)


def streamed(found: FeatureFile, order: Order, parts: Sequence[int] | None = None) -> Rows:
    """The samples of a training, read from the disk in a given order; of ``parts`` of it alone, if named."""
    train, val = (StreamedSamples(found, split, order, parts) for split in SPLITS)
    return Rows(train, val, order)


def streamed_split(found: FeatureFile, split: str) -> StreamedSamples:
    """The samples of one split, read from the disk in their order."""
    return StreamedSamples(found, split, Order.of(found.shapes[split][0], _row_bytes(found)))


def allowed_memory() -> float:
    """Bytes that rows may take unless --memory-limit says otherwise."""
    return SHARE * free_memory()


def _row_bytes(found: FeatureFile) -> int:
    """Bytes of a row on the disk."""
    return found.width * np.dtype(found.provenance.dtype).itemsize


def samples_of(split: Split) -> Samples:
    """The samples of a split, without a copy."""
    return Samples(torch.from_numpy(split.features), torch.from_numpy(split.labels))


def training_samples(config: TrainConfig, features: FeatureSet) -> Samples:
    """The samples that a head is trained on, with ``config.views`` in several views.

    Raises:
        InputError: if the cache has fewer views.
    """
    if not config.views:
        return samples_of(features.train)
    views = features.train.views
    there = 0 if views is None else views.shape[1]
    if views is None or there < config.views:
        raise InputError(
            f"--views is {config.views}, but {features.path} holds {there} views of each training image; make them: "
            f'python -m features --views {config.views} …  (make: FEATURES_ARGS="--views {config.views}")'
        )
    return Samples(torch.from_numpy(views[:, : config.views]), torch.from_numpy(features.train.labels))


def epoch_order(seed: int, epoch: int, n: int) -> torch.Tensor:
    """The order of ``n`` samples in an epoch, from seed and epoch alone: a resumed run needs no generator's state."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))


def drawn_views(seed: int, epoch: int, n: int, views: int) -> torch.Tensor:
    """Which of its ``views`` each of ``n`` samples is seen by in an epoch, int64 of shape (n,)."""
    return torch.from_numpy(np.random.default_rng([seed, epoch, views]).integers(views, size=n))
