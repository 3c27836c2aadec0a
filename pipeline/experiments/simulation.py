"""Tables whose truth is known: cross-validated accuracies of simple classifiers on points that are drawn.

In: the shape of a study. Out: accuracies as a comparison of real heads has them. Each head sees coordinates of its own
of all points, in which every class lies ``shift`` along an axis of its own; it takes the class whose mean over its
training points is nearest. Heads of equal shift are equally good, and differ by which points there are, what they learn
from and what they are judged on, as real heads do. So a test that finds a difference between them errs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a study.

    Attributes:
        counts: Points of each class.
        folds: Parts of the partition.
        repetitions: Partitions.
        sizes: Points a class to learn from, beside all that a fold leaves (None).
    """

    counts: tuple[int, ...]
    folds: int = 5
    repetitions: int = 10
    sizes: tuple[int | None, ...] = (None,)


def simulated(rng: np.random.Generator, shifts: Sequence[float], shape: Shape) -> dict[int | None, np.ndarray]:
    """Accuracies of one study, of shape (repetitions · folds, heads) for each size.

    Args:
        rng: What draws points and partitions.
        shifts: How far from the others each class lies in what a head sees, a head each, in standard deviations.
        shape: Of the study.
    """
    labels = np.repeat(np.arange(len(shape.counts)), shape.counts)
    n, n_classes = len(labels), len(shape.counts)
    views = rng.standard_normal((len(shifts), n, n_classes))
    views += np.asarray(shifts)[:, None, None] * np.eye(n_classes)[labels]
    rows: dict[int | None, list[np.ndarray]] = {size: [] for size in shape.sizes}
    for _ in range(shape.repetitions):
        order = rng.permutation(n)
        # Stratified: neighbours in the order of the classes go to different folds.
        fold_of = np.empty(n, dtype=int)
        fold_of[order[np.argsort(labels[order], kind="stable")]] = np.arange(n) % shape.folds
        for fold in range(shape.folds):
            test, train = np.flatnonzero(fold_of == fold), order[fold_of[order] != fold]
            for size in shape.sizes:
                chosen = [train[labels[train] == label][:size] for label in range(n_classes)]
                means = np.stack([views[:, part].mean(axis=1) for part in chosen], axis=1)
                # The nearest mean: |x|² is the same for all of them.
                scores = views[:, test] @ means.swapaxes(1, 2) - (means**2).sum(axis=2)[:, None] / 2
                rows[size].append((scores.argmax(axis=2) == labels[test]).mean(axis=1))
    return {size: np.array(found) for size, found in rows.items()}


def shift_of(accuracy: float, n_classes: int) -> float:
    """The shift at which a head that knew the classes' means would be right so often, between chance and 0.999."""
    from scipy.integrate import quad
    from scipy.optimize import brentq
    from scipy.stats import norm

    def right(shift: float) -> float:
        share, _ = quad(lambda z: norm.pdf(z - shift) * norm.cdf(z) ** (n_classes - 1), -8, 16, limit=200)
        return float(share)

    wanted = min(max(accuracy, 1 / n_classes + 0.005), 0.999)
    return float(brentq(lambda shift: right(shift) - wanted, 0, 10, xtol=1e-4))
