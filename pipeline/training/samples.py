"""The samples of a training, and their order.

In: a feature cache. Out: tensors, and for each epoch the order of the samples and the view of each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from features.cache.featureset import FeatureSet, Split
from features.util.errors import InputError
from pipeline.training.config import TrainConfig


class Samples(NamedTuple):
    """Features (N, n_features) and labels (N,), int64.

    Features in several views have shape (N, views, n_features); samples of several networks have an axis in front.
    """

    features: torch.Tensor
    labels: torch.Tensor


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
