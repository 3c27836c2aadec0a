"""All metrics of many bootstrap resamples at once, for their intervals.

In: class probabilities and true labels. Out: of each metric a value a resample. A resample draws, within each class, as
many rows as the class has, with replacement, so that no class is ever without rows (a stratified bootstrap). Rows are
not copied: a resample is a vector that counts how often each row is drawn, and every metric is a function of it.

Sources: B. Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9, 139
(1981), for the bias-corrected percentiles; G. Y. Zou, A. Donner, "Construction of confidence limits about effect
measures", Statistics in Medicine 27, 1693 (2008), for what several proportions together may miss.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

RESAMPLES, FEWEST = 2000, 200
AT_ONCE = 2_000_000
"""Counts that are in memory together."""
WORK = 20_000_000
"""Rows × classes × resamples up to which there are ``RESAMPLES``; beyond, there are fewer, but not under ``FEWEST``."""
TOO_MUCH = 10
"""Times ``WORK`` that the fewest resamples may take."""
BINS = 10
"""Of the expected calibration error."""
TINY = np.finfo(np.float64).eps


def n_resamples(rows: int, classes: int) -> int:
    """How many resamples are affordable; 0 where even the fewest are not."""
    size = max(rows, classes) * classes
    return 0 if FEWEST * size > TOO_MUCH * WORK else min(RESAMPLES, max(FEWEST, WORK // size))


def resampled(probabilities: np.ndarray, labels: np.ndarray, n: int, seed: int) -> dict[str, np.ndarray]:
    """The metrics of ``n`` resamples by name, float64 of shape (n,).

    Args:
        probabilities: Shape (N, n_classes), float64, rows that sum to 1.
        labels: Shape (N,), int64. Metrics that average over classes are without meaning where one has no rows.
        n: Resamples.
        seed: Of the draws.
    """
    order = np.argsort(labels, kind="stable")
    rows = _Rows(probabilities[order], labels[order])
    rng = np.random.default_rng(seed)
    each = max(1, AT_ONCE // len(labels))
    parts = [rows.metrics(rows.drawn(rng, min(each, n - start))) for start in range(0, n, each)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval95(
    value: float, drawn: np.ndarray, counts: np.ndarray, worst: float, best: float, right: np.ndarray | None = None
) -> list[float]:
    """The 95 % interval of a metric: bias-corrected percentiles of its resamples, the value itself always inside.

    A class whose rows are all right, or all wrong, is so in all resamples. To the distance of that end comes what its
    rows can't exclude: its share of right rows may be as far away as the end of Wilson's interval. The same holds where
    the metric is perfect.

    Args:
        value: Of the rows.
        drawn: Of their resamples.
        counts: Rows of each class.
        worst: The metric's worst value, which may be infinite.
        best: Its best value.
        right: Rows of each class that are right, for a metric that is a function of the confusions; else None.
    """
    from scipy.special import ndtr, ndtri

    z = float(ndtri(0.975))
    # Wilson's lower end for k right of k is k / (k + z²).
    missed = z**2 / (counts + z**2) / len(counts)
    if abs(value - best) < 1e-9 and math.isfinite(worst):
        return sorted([best, best + (worst - best) * float(np.linalg.norm(missed))])
    below = ((drawn < value - 1e-12).mean() + (drawn <= value + 1e-12).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    low, high = np.quantile(drawn, ndtr(2 * bias + np.array([-z, z])))
    if right is not None:
        down, up = (abs(worst - best) * np.linalg.norm(missed[right == whole]) for whole in (counts, 0))
        low, high = value - np.hypot(value - low, down), value + np.hypot(high - value, up)
    low, high = np.clip([low, high], min(worst, best), max(worst, best))
    return [min(float(low), value), max(float(high), value)]


def calibration_interval95(value: float, drawn: np.ndarray, confidences: np.ndarray, seed: int) -> list[float]:
    """The 95 % interval of an expected calibration error.

    The error is a sum of absolute values, to which chance only adds: in the rows, and in their resamples once more. So
    the percentiles are reflected at the value, and the lower end is 0 where a calibrated head would often err as much.

    Args:
        value: Of the rows.
        drawn: Of their resamples.
        confidences: Probability of the predicted class of each row, shape (N,).
        seed: Of the calibrated head's draws.
    """
    low, high = 2 * value - np.quantile(drawn, [0.975, 0.025])
    chance = errors_by_chance(confidences, bins_of(confidences), len(drawn), seed)
    calibrated = value <= np.quantile(chance, 0.95)
    return [0.0 if calibrated else min(max(float(low), 0.0), value), min(max(float(high), value), 1.0)]


def errors_by_chance(confidences: np.ndarray, bins: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Expected calibration errors, shape (n,), of a perfectly calibrated head: each row is right with its confidence.

    Source: J. Bröcker, L. A. Smith, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22,
    651 (2007).
    """
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // len(confidences))
    parts = [min(rows, n - start) for start in range(0, n, rows)]
    draws = (rng.random((part, len(confidences))) < confidences for part in parts)
    return np.concatenate([calibration_errors(drawn - confidences, bins) for drawn in draws])


def bins_of(confidences: np.ndarray, n_bins: int = BINS) -> np.ndarray:
    """The bin of each confidence: of equal width between 0 and 1, open below and closed above."""
    return np.digitize(confidences, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)


def calibration_errors(excess: np.ndarray, bins: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Expected calibration errors (Guo et al., arXiv:1706.04599, equation 3), shape (R,).

    Σ n_m / N · |accuracy_m − confidence_m| is the absolute sum of right − confidence in each bin, over N.

    Args:
        excess: Whether each row is right, minus its confidence: shape (N,), or (R, N).
        bins: The bin of each row, shape (N,).
        counts: How often each row counts, shape (R, N); once by default.
    """
    member = (bins[:, None] == np.unique(bins)).astype(float)
    sums = np.atleast_2d(excess) @ member if counts is None else counts @ (member * excess[:, None])
    return np.abs(sums).sum(axis=1) / len(bins)


def losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−log of each row's probability of its class, which counts as no less than float64 tells from 0."""
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], TINY, None))


def brier_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each row's Σ (p − 1[class])², halved for two classes, as scikit-learn and G. W. Brier (1950) have them."""
    wanted = labels[:, None] == np.arange(probabilities.shape[1])
    return ((probabilities - wanted) ** 2).sum(axis=1) / (2 if probabilities.shape[1] == 2 else 1)


class _Rows:
    """Rows in the order of their classes, and what of them does not depend on the resample."""

    def __init__(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        self.n, self.n_classes = probabilities.shape
        ends = np.append(0, np.bincount(labels, minlength=self.n_classes).cumsum()).tolist()
        self._classes = list(pairwise(ends))
        guesses, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
        self._guessed = (guesses[:, None] == np.arange(self.n_classes)).astype(float)
        self._means = np.stack([losses(probabilities, labels), brier_scores(probabilities, labels)], axis=1)
        self._excess, self._bins = (guesses == labels) - confidences, bins_of(confidences)
        self._curves = [_Ranking(probabilities[:, k], labels == k) for k in range(self.n_classes)]

    def drawn(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """How often each row is in each of ``n`` resamples, float64 of shape (n, N)."""
        found = np.empty((n, self.n))
        for begin, end in self._classes:
            size = end - begin
            if not size:
                continue
            draws = rng.integers(size, size=(n, size)) + size * np.arange(n)[:, None]
            found[:, begin:end] = np.bincount(draws.ravel(), minlength=n * size).reshape(n, size)
        return found

    def metrics(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """All of them, by name, from counts of shape (R, N)."""
        confusion = np.stack([counts[:, begin:end] @ self._guessed[begin:end] for begin, end in self._classes], axis=1)
        log_loss, brier = (counts @ self._means).T / self.n
        areas = np.mean([ranking.areas(counts) for ranking in self._curves], axis=0)
        return _of_confusion(confusion) | {
            "roc_auc": areas[0],
            "average_precision": areas[1],
            "log_loss": log_loss,
            "brier": brier,
            "ece": calibration_errors(self._excess, self._bins, counts),
        }


def _of_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices of shape (R, C, C), as scikit-learn defines them."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, guessed = confusion.sum(axis=2), confusion.sum(axis=1)
    total = true.sum(axis=1)
    # Matthews' correlation of several classes (J. Gorodkin, 2004).
    covariance = right.sum(axis=1) * total - (true * guessed).sum(axis=1)
    spread = np.sqrt((total**2 - (true**2).sum(axis=1)) * (total**2 - (guessed**2).sum(axis=1)))
    return {
        "balanced_accuracy": (right / np.maximum(true, 1)).mean(axis=1),
        "f1_macro": (2 * right / np.maximum(true + guessed, 1)).mean(axis=1),
        "matthews_corrcoef": np.where(spread > 0, covariance / np.where(spread > 0, spread, 1), 0.0),
    }


class _Ranking:
    """Rows ranked by the probability of one class, those of equal probability together."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self._positive = positive[self._order].astype(float)

    def areas(self, counts: np.ndarray) -> np.ndarray:
        """Area under the ROC curve, and average precision, shape (2, R)."""
        ranked = counts[:, self._order]
        everything = ranked.cumsum(axis=1)[:, self._ends]
        ranked *= self._positive
        true = ranked.cumsum(axis=1)[:, self._ends]
        false = everything - true
        gained = np.diff(true, axis=1, prepend=0)
        precision = true / np.maximum(everything, 1)
        # Pairs of a positive and a negative row that are in order; a tie counts half.
        behind = false[:, -1:] - false + np.diff(false, axis=1, prepend=0) / 2
        pairs = true[:, -1] * false[:, -1]
        return np.stack(
            [
                (gained * behind).sum(axis=1) / np.maximum(pairs, 1),
                (gained * precision).sum(axis=1) / true[:, -1].clip(1),
            ]
        )
