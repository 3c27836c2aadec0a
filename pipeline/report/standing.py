"""Where a run stands: beside one linear layer trained on the same rows, and among other seeds of itself.

In: a :class:`pipeline.inference.evaluation.Report`. Out: :class:`Standing`, from a second or two of training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from features.cache.featureset import FeatureSet
from features.cache.store import read_rows
from pipeline.heads.base import Head
from pipeline.heads.registry import HEADS, new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.inference.evaluation import Report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import one_thread
from pipeline.training.multi_seed import train_epochs
from pipeline.training.run import Run
from pipeline.training.samples import training_samples
from pipeline.util.metrics import Accuracy, accuracy
from pipeline.util.paired import paired_difference95

SEEDS = 20
LONGEST = 20.0
"""Seconds that the run itself, or all that is trained beside it, may take."""
CLASSICAL = "linear"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The run beside others, all after their last epoch, on the cached validation rows.

    Attributes:
        classical: The accuracy of one linear layer with the run's own seed, epochs, rate and batches; None where that
            is what the run is.
        difference: The run's accuracy minus that; ``difference95`` is its interval, for the same images.
        seeds: The seeds of further heads like the run's.
        accuracies: Their accuracies, in the order of the seeds.
        below: How many of them are less accurate than the run, and ``level``, as accurate.
    """

    classical: Accuracy | None
    difference: float | None
    difference95: tuple[float, float] | None
    seeds: list[int]
    accuracies: list[float]
    below: int
    level: int


def standing(report: Report) -> Standing | str:
    """Train them; or the reason why they are not trained."""
    run = report.run
    if HEADS[run.config.head].fitted:
        return f"the head {run.config.head} is fitted, not trained: it has no seeds"
    if run.seconds > LONGEST:
        return f"the run itself took {run.seconds:.0f} s, and more than {LONGEST:.0f} s is not repeated here"
    try:
        return _beside(run, read_rows(report.cache))
    except ValueError as error:  # an InputError too: the rows may not fit into memory
        return str(error)


def _beside(run: Run, features: FeatureSet) -> Standing:
    config = replace(run.config, seeds=1, resume=False, force=False)
    seeds = list(range(config.seed + 1, config.seed + 1 + SEEDS))
    with torch.no_grad():
        own = _right(run.head()(torch.from_numpy(features.val.features)), features)
    mine = float(own.mean())
    classical = difference = difference95 = None
    if config.head != CLASSICAL:
        control = replace(config, head=CLASSICAL, circuit="mari", pre_net="auto")
        (right,) = _trained([new_head(control, features.width, len(run.classes))], control, [config.seed], features)
        classical = accuracy(int(right.sum()), len(right))
        difference = mine - float(right.mean())
        difference95 = paired_difference95(own, right)
    # A file's circuit is the recorded one: the file may have changed since.
    source = None if run.circuit is None else run.circuit.source
    heads = [new_head(replace(config, seed=seed), features.width, len(run.classes), source) for seed in seeds]
    accuracies = _trained(heads, config, seeds, features).mean(axis=1).tolist()
    return Standing(
        classical=classical,
        difference=difference,
        difference95=difference95,
        seeds=seeds,
        accuracies=accuracies,
        below=sum(each < mine - 1e-12 for each in accuracies),
        level=sum(abs(each - mine) <= 1e-12 for each in accuracies),
    )


def _trained(heads: Sequence[Head], config: TrainConfig, seeds: Sequence[int], features: FeatureSet) -> np.ndarray:
    """Whether each head, trained with its seed, is right on each validation row, bool of shape (heads, N).

    Raises:
        ValueError: If they can't be trained side by side, training diverges, or all epochs would take too long.
    """
    nets = stack(heads)
    rows, labels = training_samples(config, features)
    every = torch.arange(len(labels)).expand(len(seeds), -1)
    with one_thread():
        started = time.perf_counter()
        for epoch, _ in enumerate(train_epochs(config, nets, list(seeds), rows, labels, every), start=1):
            expected = (time.perf_counter() - started) / epoch * config.passes
            if expected > LONGEST:
                raise ValueError(
                    f"{len(seeds)} of them would take {expected:.0f} s, and more than {LONGEST:.0f} s is not spent here"
                )
        with torch.no_grad():
            return _right(nets(torch.from_numpy(features.val.features)), features)


def _right(logits: torch.Tensor, features: FeatureSet) -> np.ndarray:
    return (logits.argmax(dim=-1) == torch.from_numpy(features.val.labels)).numpy()
