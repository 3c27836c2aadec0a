"""The validation rows of a cache, classified by both heads of a run: in memory where they fit, else block by block.

In: a run and its features. Out: :class:`Classified`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch

from features.cache.featureset import FeatureFile
from features.cache.store import open_cache, read_rows, shard_files
from features.util.memory import gigabytes
from pipeline.training.record import EPOCHS
from pipeline.training.run import Run
from pipeline.training.samples import Source, allowed_memory, samples_of, streamed_split

SAMPLE = 10_000
"""Rows of a stream whose features are kept, for the pictures."""


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Validation rows.

    Attributes:
        logits: Of the ``last`` and the ``best`` epoch's head, shape (N, n_classes).
        labels: Shape (N,), int64.
        features: Shape (n, width), float32.
        sampled: The rows that these are of: all, or of a stream about ``SAMPLE``, evenly spaced.
        paths: N relative paths.
    """

    logits: dict[str, torch.Tensor]
    labels: torch.Tensor
    features: torch.Tensor
    sampled: np.ndarray | slice
    paths: Sequence[str]


def classified(run: Run, found: FeatureFile) -> Classified:
    """Classify the validation rows."""
    n = found.shapes["val"][0]
    needed, allowed = found.memory("val"), allowed_memory()
    source: Source
    paths: Sequence[str]
    if needed <= allowed:
        val = read_rows(found, ("val",)).val
        source, paths, every = samples_of(val), val.paths, 1
    else:
        print(
            f"{n:,} validation rows take {gigabytes(needed)} and {gigabytes(allowed)} may be taken: they are read from "
            f"the disk; the pictures of the head's inside show about {SAMPLE:,} of them"
        )
        source, paths, every = streamed_split(found, "val"), StoredPaths(found), -(-n // SAMPLE)
    heads = {which: run.head(which) for which in EPOCHS}
    logits: dict[str, list[torch.Tensor]] = {which: [] for which in EPOCHS}
    labels, features, sampled, done = [], [], [], 0
    with torch.inference_mode():
        for rows, wanted in source.blocks():
            for which, head in heads.items():
                logits[which].append(head(rows))
            labels.append(wanted)
            kept = np.arange(-done % every, len(wanted), every)
            features.append(rows if every == 1 else rows[kept])
            sampled.append(done + kept)
            done += len(wanted)
    return Classified(
        logits={which: torch.cat(parts) for which, parts in logits.items()},
        labels=torch.cat(labels),
        features=torch.cat(features) if len(features) > 1 else features[0],
        sampled=np.concatenate(sampled) if every > 1 else slice(None),
        paths=paths,
    )


class StoredPaths(Sequence[str]):
    """Paths of validation rows as they are stored, which takes a tenth of the memory of so many texts."""

    def __init__(self, found: FeatureFile) -> None:
        parts = []
        for file in shard_files(found.path):
            with open_cache(file) as cache:
                if "val" in cache:
                    parts.append(cache["val/paths"][()])
        self._stored = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [path.decode() for path in self._stored[index].tolist()]
        return bytes(self._stored[index]).decode()
