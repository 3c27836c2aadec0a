"""How good predictions are: accuracy with its interval, loss, confusion matrix, and scores of each class.

In: logits of shape (N, n_classes), and labels (N,). Out: plain numbers and lists, as ``report.json`` holds them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


def metrics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, mean cross-entropy, confusion matrix, and precision, recall and F1.

    Args:
        logits: Shape (N, n_classes).
        labels: Shape (N,), int64.

    Returns:
        Plain numbers and lists. ``confusion[i][j]`` counts images of class i taken for class j.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    guesses = logits.argmax(dim=1).numpy()
    truth = labels.numpy()
    classes = range(logits.shape[1])
    correct, total = int((guesses == truth).sum()), len(truth)
    precision, recall, f1, support = precision_recall_fscore_support(truth, guesses, labels=classes, zero_division=0.0)
    return {
        "accuracy": correct / total,
        "correct": correct,
        "total": total,
        "wilson95": wilson95(correct, total),
        "loss": functional.cross_entropy(logits, labels).item(),
        "confusion": confusion_matrix(truth, guesses, labels=classes).tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
    }


def wilson95(correct: int, total: int) -> list[float]:
    """The 95 % interval of an accuracy (E. B. Wilson, 1927): lower and upper end."""
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    return [float(interval.low), float(interval.high)]
