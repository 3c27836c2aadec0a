"""The loop that trains many networks side by side, each on samples of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.experiments.paper.row import Curve
from pipeline.heads.stacked import StackedHeads
from pipeline.training.epochs import one_thread
from pipeline.training.optimizer import Adam
from pipeline.training.samples import Samples, epoch_order


def fit(
    networks: StackedHeads,
    train: Samples,
    test: Samples,
    *,
    seeds: Sequence[int],
    lr: float,
    batch: int,
    steps: int,
    every: int,
) -> Curve:
    """Train by Adam on batches of ``batch`` samples, over and over the training samples, each time in another order.

    Args:
        networks: One for each seed, trained in place.
        train: Their training samples; ``batch`` must divide their number.
        test: Their test samples.
        seeds: Seeds of the orders.
        lr: Learning rate.
        batch: Samples a step.
        steps: Number of steps.
        every: Steps from one look at the test samples to the next.
    """
    n = train.labels.shape[1]
    assert n % batch == 0, f"{n} samples in batches of {batch}"
    optimizer = Adam(networks, lr=lr)
    rank = torch.arange(len(seeds))[:, None]
    looks, accuracies = [], []
    with one_thread():
        for step in range(steps):
            epoch, place = divmod(step * batch, n)
            if place == 0:
                orders = torch.stack([epoch_order(seed, epoch, n) for seed in seeds])
            rows = orders[:, place : place + batch]
            networks.backward_cross_entropy(train.features[rank, rows], train.labels[rank, rows])
            optimizer.step()
            if (step + 1) % every == 0 or step + 1 == steps:
                looks.append(step + 1)
                accuracies.append(accuracy(networks, test))
    return Curve(steps=looks, accuracies=accuracies)


def accuracy(networks: StackedHeads, samples: Samples) -> list[float]:
    """The share of samples that each network classifies correctly."""
    with torch.no_grad():
        right = networks(samples.features).argmax(dim=-1) == samples.labels
    return right.double().mean(dim=1).tolist()
