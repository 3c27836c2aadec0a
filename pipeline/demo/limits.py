"""When the demo warns: an answer that is not sure, and a picture unlike those of the training.

In: a run and its feature cache. Out: the limits of both warnings, and what they mean on the validation pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from features.cache.store import read_rows, verify_features
from features.util.errors import InputError
from pipeline.explain.unlike import Unlikeness
from pipeline.heads.base import Head
from pipeline.training.run import Run

MARGIN = 0.2
"""Below this difference of the two largest probabilities an answer is not sure."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where both warnings begin, and what that means.

    Attributes:
        total: Validation pictures whose features are at hand; 0 where none are.
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
        rows = read_rows(cache)
    except InputError as error:
        return Limits(reason=str(error))
    with torch.inference_mode():
        probabilities = head(torch.from_numpy(rows.val.features)).softmax(dim=1).numpy()
    unsure = margins(probabilities) < MARGIN
    right = probabilities.argmax(axis=1) == rows.val.labels
    try:
        unlike, reason = Unlikeness(rows.train.features, rows.val.features), ""
    except InputError as error:
        unlike, reason = None, str(error)
    return Limits(
        total=len(unsure), unsure=int(unsure.sum()), unsure_right=int(right[unsure].sum()), unlike=unlike, reason=reason
    )


def margins(probabilities: np.ndarray) -> np.ndarray:
    """The differences of the two largest of probabilities (…, n_classes)."""
    largest = np.sort(probabilities, axis=-1)
    return largest[..., -1] - largest[..., -2]
