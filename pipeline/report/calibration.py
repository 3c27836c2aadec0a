"""Calibration: are as many of the images right as the head's probabilities say?

In: class probabilities and true labels. Out: :class:`Calibration`: the reliability curve, its expected calibration
error, and what that error would be by chance.

Sources: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", arXiv:1706.04599,
section 2; for chance: J. Bröcker and L. A. Smith, "Increasing the reliability of reliability diagrams", Weather and
Forecasting 22, 651 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.util.bootstrap import BINS, bins_of, calibration_errors, errors_by_chance
from pipeline.util.metrics import accuracy

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The images whose predicted class has a probability above ``low`` and at most ``high``.

    Attributes:
        images: Their number.
        probability: Their mean probability.
        accuracy: The share of them that is right, and ``wilson95``, its interval.
    """

    low: float
    high: float
    images: int
    probability: float
    accuracy: float
    wilson95: list[float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The reliability curve and its error.

    Attributes:
        ece: Expected calibration error.
        mean_probability: Of the predicted class, over all images.
        accuracy: Over all images.
        chance: The mean error of a perfectly calibrated head with these probabilities.
        chance95: What 95 % of that head's errors are at most.
        bins: Those that hold images.
    """

    ece: float
    mean_probability: float
    accuracy: float
    chance: float
    chance95: float
    bins: list[Bin]


def calibration(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = BINS, seed: int = 0) -> Calibration:
    """The reliability curve and the expected calibration error (Guo et al., equations 2 and 3).

    The probability of an image is that of its predicted class. With few images even a perfectly calibrated head has an
    error: its size is found by drawing, for each image, whether it is right with exactly its probability.

    Args:
        probabilities: Shape (N, n_classes), rows that sum to 1.
        labels: True classes, int64 of shape (N,).
        n_bins: Bins of equal width between 0 and 1, each open below and closed above.
        seed: Of those draws.
    """
    confidences = probabilities.max(axis=1).astype(float)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, n_bins + 1)
    bin_of = bins_of(confidences, n_bins)
    bins = []
    for index in np.unique(bin_of):
        inside = bin_of == index
        found = accuracy(int(right[inside].sum()), int(inside.sum()))
        bins.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                images=found.total,
                probability=float(confidences[inside].mean()),
                accuracy=found.accuracy,
                wilson95=found.wilson95,
            )
        )
    by_chance = errors_by_chance(confidences, bin_of, RESAMPLES, seed)
    return Calibration(
        ece=float(calibration_errors(right - confidences, bin_of)[0]),
        mean_probability=float(confidences.mean()),
        accuracy=float(right.mean()),
        chance=float(by_chance.mean()),
        chance95=float(np.quantile(by_chance, 0.95)),
        bins=bins,
    )
