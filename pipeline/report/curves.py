"""How a head ranks images: for each class, how many of its images are found at which price.

In: class probabilities and true labels. Out: a :class:`Curves` a class, or the reason why there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST = 10
"""Classes whose curves are told apart."""
POINTS = 400
"""Most points of a curve that are kept."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one class against the others, by its probability.

    Attributes:
        name: The class.
        roc: Share of the other images that are taken for it, and share of its images that are found.
        precision_recall: Share of its images that are found, and share of those taken for it that are of it.
        roc_auc: The area under the first.
        average_precision: The area under the second, as steps.
    """

    name: str
    roc: tuple[list[float], list[float]]
    precision_recall: tuple[list[float], list[float]]
    roc_auc: float
    average_precision: float


def curves(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Curves] | str:
    """Of each class that has images.

    Args:
        probabilities: Shape (N, n_classes).
        labels: True classes, int64 of shape (N,).
        classes: Their names.
    """
    if len(classes) > MOST:
        return f"the curves of {len(classes)} classes can't be told apart; {MOST} are drawn at most"
    there = np.unique(labels)
    if len(there) < 2:
        return f"all images are of class {classes[there[0]]}: there is nothing to tell them from"
    return [_of_class(probabilities[:, k], labels == k, classes[k]) for k in there.tolist()]


def _of_class(scores: np.ndarray, positive: np.ndarray, name: str) -> Curves:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    false, found, _ = roc_curve(positive, scores)
    precision, recall, _ = precision_recall_curve(positive, scores, drop_intermediate=True)
    return Curves(
        name=name,
        roc=_thinned(false, found),
        precision_recall=_thinned(recall[::-1], precision[::-1]),
        roc_auc=float(roc_auc_score(positive, scores)),
        average_precision=float(average_precision_score(positive, scores)),
    )


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """At most ``POINTS`` of them, the ends included."""
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int)) if len(x) > POINTS else slice(None)
    return x[kept].tolist(), y[kept].tolist()
