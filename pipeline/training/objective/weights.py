"""Weights of classes in the loss, so that rare ones count as much as frequent ones.

In: labels, or how many rows the classes have. Out: a weight a class, and of the rows of a step their shares of its
loss. The loss is that of ``torch.nn.CrossEntropyLoss(weight=…)``: Σ w[y] · loss / Σ w[y] over the rows of a step.
"""

from __future__ import annotations

import numpy as np
import torch

from features.cache.featureset import FeatureFile
from features.cache.store import open_cache, shard_files
from pipeline.training.config import TrainConfig

LABELS_AT_ONCE = 1 << 22


def class_weights(config: TrainConfig, counts: torch.Tensor) -> torch.Tensor | None:
    """The weight of each class, float32 of shape (…, n_classes): ``balanced`` is N / (classes · rows of the class), as
    in scikit-learn. None where all count the same.

    Args:
        config: Says which.
        counts: Training rows of each class, of shape (…, n_classes). A class without rows is none.
    """
    if config.class_weights == "none":
        return None
    there = (counts > 0).sum(dim=-1, keepdim=True)
    return (counts.sum(dim=-1, keepdim=True) / (there * counts.clamp(min=1).double())).float()


def shares(weights: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor | None:
    """What each row counts in the loss of its step, of shape (…, B), summing to 1; None where all count the same.

    Args:
        weights: As :func:`class_weights` gives them.
        labels: Of the rows, int64 of shape (…, B).
    """
    if weights is None:
        return None
    of_rows = weights.gather(-1, labels)
    return of_rows / of_rows.sum(dim=-1, keepdim=True)


def training_counts(found: FeatureFile) -> torch.Tensor:
    """Training rows of each class in a cache or its shards, int64 of shape (n_classes,), without reading features."""
    counts = np.zeros(len(found.provenance.classes), np.int64)
    for file in shard_files(found.path):
        with open_cache(file) as cache:
            if "train" not in cache:
                continue
            labels = cache["train/labels"]
            for start in range(0, len(labels), LABELS_AT_ONCE):
                counts += np.bincount(labels[start : start + LABELS_AT_ONCE], minlength=len(counts))
    return torch.from_numpy(counts)
