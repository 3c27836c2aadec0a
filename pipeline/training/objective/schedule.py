"""The learning rate over a training, and whether it fell before there was something learned.

In: the configuration, and the epochs that are done. Out: a rate; a sentence that says what to change, or None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile

from pipeline.heads.registry import HEADS
from pipeline.training.config import LR_STEP, Hyperparameters, TrainConfig
from pipeline.training.record import EpochRecord

PAPER_STEPS = 610
"""Steps of the paper's run before its learning rate first falls: 10 epochs of 244 pictures in batches of 4."""
FALLEN = 0.1
"""Share of its start at which a learning rate has fallen so far that little is learned any more."""
EXCESS = 0.15
"""Loss, in nats, above that of a head which is as sure as it is right, from which more steps are worth it."""


STRETCH, FALLING, LEAST = 5, 0.15, 0.01
"""Fewest epochs whose last fifth is judged; the share of the whole fall of the loss that it made, and the fall in nats,
from which more steps are worth it. With the paper's settings the share is 0.08, and 0.13 at most of 100 seeds."""


def learning_rate(config: TrainConfig, epoch: int, steps: int) -> float:
    """The rate of a step: times ``lr_gamma`` after every ``lr_step`` epochs, as in the demo, or ``decay_steps`` steps.

    Args:
        config: The schedule.
        epoch: The step's epoch in its phase, from 0.
        steps: Steps that the phase has done before it.
    """
    changes = epoch // config.lr_step if config.decay_steps is None else steps // config.decay_steps
    return config.lr * config.lr_gamma**changes


def steps_at_first_rate(config: Hyperparameters, rows: float) -> int:
    """Steps before the learning rate falls for the first time, of training on so many rows."""
    return config.decay_steps or config.lr_step * math.ceil(rows / config.batch)


def far_from_end(config: TrainConfig, history: Sequence[EpochRecord], rows: int, n_classes: int) -> str | None:
    """Whether a training stopped far from its end, in a sentence with what to do; None where it did not.

    It did if its learning rate has fallen to a tenth or less, and either its training loss is 0.15 or more above the
    entropy of its training accuracy, or the loss was still falling when the rate began to. That entropy is the loss of
    a head whose probabilities are all its accuracy: a head that has learned as much as its accuracy says is at or below
    it. A loss was still falling if the last fifth of the epochs before made 15 % or more of its way.

    Args:
        config: Its settings.
        history: Its epochs.
        rows: Training rows.
        n_classes: Number of classes.
    """
    if len(history) < config.passes or HEADS[config.head].fitted:
        return None
    last = history[-1]
    allowed = _entropy(last.train_accuracy, n_classes)
    falling = _falling(history)
    if last.lr > FALLEN * config.lr * (1 + 1e-9) or (last.train_loss < allowed + EXCESS and falling < FALLING):
        return None
    before = steps_at_first_rate(config, rows)
    longer = max(3, math.ceil(PAPER_STEPS / before))
    instead = "" if config.decay_steps or config.lr_step == LR_STEP else " instead of --lr-step"
    reason = (
        f"at an accuracy of {100 * last.train_accuracy:.1f} %, {allowed:.3f} can be expected"
        if last.train_loss >= allowed + EXCESS
        else f"{100 * falling:.0f} % of the way there it made in the last fifth of these steps"
    )
    return (
        f"training stopped far from its end: after {before} steps the learning rate began to fall, to "
        f"{last.lr / config.lr:.2g} of its start, while the training loss is {last.train_loss:.3f}; {reason}. More "
        "steps help: "
        f"--epochs {longer * config.epochs} --decay-steps {longer * before}{instead}"
    )


def _falling(history: Sequence[EpochRecord]) -> float:
    """The share of a loss's whole fall at the first learning rate that its last fifth made; 0 of too few epochs."""
    losses = [epoch.train_loss for epoch in takewhile(lambda epoch: epoch.lr == history[0].lr, history)]
    if len(losses) < STRETCH:
        return 0.0
    whole, end = losses[0] - losses[-1], losses[-1 - len(losses) // STRETCH] - losses[-1]
    return end / whole if whole > 0 and end > LEAST else 0.0


def _entropy(accuracy: float, n_classes: int) -> float:
    """The mean loss where the predicted class always has ``accuracy`` as its probability, and the others share the
    rest."""
    wrong = 1 - accuracy
    right = accuracy * math.log(1 / accuracy) if accuracy else 0.0
    return right + (wrong * math.log((n_classes - 1) / wrong) if wrong > 1e-12 and n_classes > 1 else 0.0)
