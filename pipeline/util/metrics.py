"""How good predictions are: the metrics by name, with intervals; confusion matrix, and scores of each class.

In: logits or class probabilities of shape (N, n_classes), and labels (N,). Out: plain numbers and lists.

``METRICS`` is the one list of metrics: evaluation, report, comparison and prediction take theirs from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from pipeline.util.bootstrap import (
    bins_of,
    brier_scores,
    calibration_errors,
    calibration_interval95,
    interval95,
    losses,
    n_resamples,
    resampled,
)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How many images are classified correctly.

    Attributes:
        accuracy: Their share.
        correct: Their number.
        total: The number of all images.
        wilson95: The 95 % interval of the accuracy: lower and upper end.
    """

    accuracy: float
    correct: int
    total: int
    wilson95: list[float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric of some rows.

    Attributes:
        value: None where it is not defined on these rows.
        interval95: Its 95 % interval, lower and upper end; None where there is none.
        reason: Why one of them is None.
    """

    value: float | None
    interval95: list[float] | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics(Accuracy):
    """Accuracy, and what a single number leaves out.

    Attributes:
        loss: Mean cross-entropy.
        confusion: ``confusion[i][j]`` counts images of class i that were taken for class j.
        precision: Of each class.
        recall: Of each class.
        f1: Of each class.
        support: Images of each class.
    """

    loss: float
    confusion: list[list[int]]
    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]


def metrics(logits: torch.Tensor, labels: torch.Tensor) -> Metrics:
    """Metrics of logits of shape (N, n_classes) against labels of shape (N,), int64."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    guesses = logits.argmax(dim=1).numpy()
    truth = labels.numpy()
    indices = range(logits.shape[1])
    correct, total = int((guesses == truth).sum()), len(truth)
    precision, recall, f1, support = precision_recall_fscore_support(truth, guesses, labels=indices, zero_division=0.0)
    return Metrics(
        **vars(accuracy(correct, total)),
        loss=functional.cross_entropy(logits, labels).item(),
        confusion=confusion_matrix(truth, guesses, labels=indices).tolist(),
        precision=precision.tolist(),
        recall=recall.tolist(),
        f1=f1.tolist(),
        support=support.tolist(),
    )


def accuracy(correct: int, total: int) -> Accuracy:
    """The accuracy of ``correct`` out of ``total`` images, with its interval."""
    return Accuracy(accuracy=correct / total, correct=correct, total=total, wilson95=wilson95(correct, total))


def wilson95(correct: int, total: int) -> list[float]:
    """The 95 % interval of an accuracy (E. B. Wilson, 1927): lower and upper end."""
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One way to judge predictions. Call it with class probabilities (N, n_classes) and labels (N,), int64.

    Attributes:
        label: Its name for people.
        meaning: What it says, in a sentence.
        function: Computes it from probabilities in float64 and labels.
        range: Its worst and its best value; of a loss without limit the worst is infinite.
        percent: Whether people write it in percent.
        needs: Which rows it takes to be defined.
        of_confusions: Whether it is a function of the confusions alone, and has its interval by resampling.
    """

    label: str
    meaning: str
    function: Callable[[np.ndarray, np.ndarray], float]
    range: tuple[float, float] = (0.0, 1.0)
    percent: bool = False
    needs: Literal["rows", "two classes", "every class"] = "rows"
    of_confusions: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        worst, best = self.range
        return best > worst

    def __call__(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """The metric of these rows.

        Raises:
            ValueError: If it is not defined on them.
        """
        reason = self.undefined(np.bincount(labels, minlength=probabilities.shape[1]))
        if reason is not None:
            raise ValueError(f"{self.label} is not defined: {reason}")
        return float(self.function(np.asarray(probabilities, dtype=np.float64), labels))

    def undefined(self, counts: np.ndarray, classes: Sequence[str] | None = None) -> str | None:
        """Why it is not defined where the classes have these numbers of rows; None where it is."""
        empty = [str(k) if classes is None else classes[k] for k, count in enumerate(counts) if not count]
        if not counts.any():
            return "there are no samples"
        if self.needs == "two classes" and len(counts) - len(empty) < 2:
            return "all samples are of one class"
        if self.needs == "every class" and empty:
            more = f" and {len(empty) - 3} classes more" if len(empty) > 3 else ""
            return f"no sample is of class {', '.join(empty[:3])}{more}"
        return None


def estimates(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Estimate]:
    """All metrics with 95 % intervals: of the accuracy Wilson's, of the others from stratified bootstrap resamples.

    There are 2,000 resamples where rows × classes is up to 10,000, fewer beyond (200 from 100,000 on), and none from
    a million on: intervals are then None.

    Args:
        probabilities: Shape (N, n_classes).
        labels: Shape (N,), int64.
        classes: Their names, for reasons.
        seed: Of the resamples.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    n = n_resamples(*probabilities.shape)
    drawn = resampled(probabilities, labels, n, seed) if n and len(labels) else {}
    guesses = probabilities.argmax(axis=1)
    right = np.bincount(labels[guesses == labels], minlength=len(counts))
    found = {}
    for name, metric in METRICS.items():
        reason = metric.undefined(counts, classes)
        if reason is not None:
            found[name] = Estimate(value=None, interval95=None, reason=reason)
            continue
        value, interval = float(metric.function(probabilities, labels)), None
        if name == "accuracy":
            interval = wilson95(int(right.sum()), len(labels))
        elif not n:
            reason = f"{len(labels):,} samples × {len(counts):,} classes are too many to resample"
        elif name == "ece":
            interval = calibration_interval95(value, drawn[name], probabilities.max(axis=1), seed)
        else:
            of_right = right[counts > 0] if metric.of_confusions else None
            interval = interval95(value, drawn[name], counts[counts > 0], *metric.range, of_right)
        found[name] = Estimate(value=value, interval95=interval, reason=reason)
    return found


def _one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return (labels[:, None] == np.arange(n_classes)).astype(np.int64)


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return (probabilities.argmax(axis=1) == labels).mean()


def _balanced_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    # balanced_accuracy_score warns where a class is predicted that no row has.
    return recall_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0.0)


def _f1_macro(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0.0)


def _matthews_corrcoef(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(labels, probabilities.argmax(axis=1))


def _roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(_one_hot(labels, probabilities.shape[1]), probabilities, average="macro")


def _average_precision(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return average_precision_score(_one_hot(labels, probabilities.shape[1]), probabilities, average="macro")


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    # scikit-learn warns of a softmax in float32, whose rows sum to 1 in that type only.
    return losses(probabilities, labels).mean()


def _brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    # scikit-learn has that of several classes from 1.7 on.
    return brier_scores(probabilities, labels).mean()


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Of ten bins of the predicted class's probability (Guo et al., arXiv:1706.04599, equation 3)."""
    confidences = probabilities.max(axis=1)
    excess = (probabilities.argmax(axis=1) == labels) - confidences
    return float(calibration_errors(excess, bins_of(confidences))[0])


METRICS = {
    "accuracy": Metric(
        label="accuracy",
        meaning="the share of samples whose class is predicted",
        function=_accuracy,
        percent=True,
    ),
    "balanced_accuracy": Metric(
        label="balanced accuracy",
        meaning="the mean over classes of the share of their samples that is found; guessing gives 1 / classes",
        function=_balanced_accuracy,
        of_confusions=True,
        percent=True,
        needs="every class",
    ),
    "f1_macro": Metric(
        label="macro F1",
        meaning="the mean over classes of the harmonic mean of precision and recall",
        function=_f1_macro,
        of_confusions=True,
        percent=True,
        needs="every class",
    ),
    "matthews_corrcoef": Metric(
        label="Matthews correlation",
        meaning="the correlation of predicted and true classes: 1 perfect, 0 chance, below 0 worse than chance",
        function=_matthews_corrcoef,
        of_confusions=True,
        range=(-1.0, 1.0),
        needs="two classes",
    ),
    "roc_auc": Metric(
        label="ROC AUC",
        meaning="how often a sample of a class gets a higher probability of it than one of another; chance gives 0.5",
        function=_roc_auc,
        needs="every class",
    ),
    "average_precision": Metric(
        label="average precision",
        meaning="the area under precision over recall, a mean over classes; chance gives a class's share",
        function=_average_precision,
        percent=True,
        needs="every class",
    ),
    "log_loss": Metric(
        label="log loss",
        meaning="the mean of −ln of the true class's probability; 0 is perfect, ln(classes) is knowing nothing",
        function=_log_loss,
        range=(math.inf, 0.0),
    ),
    "brier": Metric(
        label="Brier score",
        meaning="the mean squared error of the probabilities, halved for two classes; 0 is perfect",
        function=_brier,
        range=(2.0, 0.0),
    ),
    "ece": Metric(
        label="calibration error",
        meaning="how far probabilities lie from the shares that are right, a mean over ten bins; few samples add to it",
        function=expected_calibration_error,
        percent=True,
        range=(1.0, 0.0),
    ),
}
"""The metrics by the names that scikit-learn's users know; those of several classes are one class against the rest."""
