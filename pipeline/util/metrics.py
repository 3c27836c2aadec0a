"""How good predictions are: accuracy with its interval, loss, confusion matrix, and scores of each class.

In: logits of shape (N, n_classes), and labels (N,), all at once or in batches. Out: :class:`Metrics` or :class:`Tally`,
in plain numbers and lists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


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
    classes = range(logits.shape[1])
    correct, total = int((guesses == truth).sum()), len(truth)
    precision, recall, f1, support = precision_recall_fscore_support(truth, guesses, labels=classes, zero_division=0.0)
    return Metrics(
        **vars(accuracy(correct, total)),
        loss=functional.cross_entropy(logits, labels).item(),
        confusion=confusion_matrix(truth, guesses, labels=classes).tolist(),
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


def score(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    tally = Tally()
    tally.add(logits, labels)
    return tally.score()


class Tally:
    """Mean cross-entropy and accuracy of samples that come in batches.

    Args:
        at_once: Rows that are kept until they are scored together; of all rows at once, the loss is torch's own mean.
    """

    def __init__(self, at_once: float = math.inf) -> None:
        self.at_once = at_once
        self.loss, self.right, self.rows = 0.0, 0.0, 0
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._n_kept = 0

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count samples by their logits (B, n_classes) and labels (B,)."""
        self._kept.append((logits, labels))
        self._n_kept += len(labels)
        if self._n_kept >= self.at_once:
            self.count()

    def count(self) -> None:
        """Count what is kept: after it, ``loss`` and ``right`` are sums over all ``rows``."""
        if not self._kept:
            return
        logits, labels = map(torch.cat, zip(*self._kept, strict=True))
        self.loss += functional.cross_entropy(logits, labels).item() * len(labels)
        self.right += (logits.argmax(dim=1) == labels).double().sum().item()
        self.rows += len(labels)
        self._kept, self._n_kept = [], 0

    def score(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy of all samples."""
        self.count()
        return self.loss / self.rows, self.right / self.rows
