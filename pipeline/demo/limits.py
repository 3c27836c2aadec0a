"""When the demo warns: an answer that is not sure, and a picture unlike those of the training.

In: a run and its feature cache. Out: the limits of both warnings, and what they mean on the validation pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from features.cache.featureset import FeatureFile
from features.cache.store import verify_features
from features.sources.catalogue import SPLITS
from features.util.errors import InputError
from pipeline.explain.unlike import Unlikeness
from pipeline.heads.base import Head
from pipeline.training.run import Run
from pipeline.training.samples import streamed_split

MARGIN = 0.2
"""Below this difference of the two largest probabilities an answer is not sure."""
ROWS = 5000
"""Rows of either split that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where both warnings begin, and what that means.

    Attributes:
        total: Validation pictures that were looked at, by their features; 0 where these are not at hand.
        unsure: How many of them the head is not sure of, and ``unsure_right`` how many of these it gets right.
        unlike: Judges pictures; None where it can't.
        reason: Why it can't.
    """

    total: int = 0
    unsure: int = 0
    unsure_right: int = 0
    unlike: Unlikeness | None = None
    reason: str = ""


def limits_of(run: Run, head: Head) -> Limits:
    """Set both warnings by the run's cache; without it, or with too few rows, pictures are not called unlike."""
    path = Path(run.features.path)
    try:
        cache = verify_features(path)
        if not cache.matches(run.features.content_sha256):
            return Limits(reason=f"{path.name} holds other features than those the head was trained on")
        (train, _), (val, labels) = (_spaced(cache, split) for split in SPLITS)
    except InputError as error:
        return Limits(reason=str(error))
    with torch.inference_mode():
        probabilities = head(val).softmax(dim=1).numpy()
    unsure = margins(probabilities) < MARGIN
    right = probabilities.argmax(axis=1) == labels.numpy()
    try:
        unlike, reason = Unlikeness(train.numpy(), val.numpy()), ""
    except InputError as error:
        unlike, reason = None, str(error)
    return Limits(
        total=len(unsure), unsure=int(unsure.sum()), unsure_right=int(right[unsure].sum()), unlike=unlike, reason=reason
    )


def _spaced(cache: FeatureFile, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of at most ``ROWS`` rows, evenly spaced; only these are in memory."""
    every = -(-cache.shapes[split][0] // ROWS)
    kept, done = [], 0
    for features, labels in streamed_split(cache, split).blocks():
        chosen = torch.arange(-done % every, len(labels), every)
        kept.append((features[chosen], labels[chosen]))
        done += len(labels)
    return torch.cat([features for features, _ in kept]), torch.cat([labels for _, labels in kept])


def margins(probabilities: np.ndarray) -> np.ndarray:
    """The differences of the two largest of probabilities (…, n_classes)."""
    largest = np.sort(probabilities, axis=-1)
    return largest[..., -1] - largest[..., -2]
