"""Mean cross-entropy and accuracy of samples that come in batches, or all at once.

In: logits of shape (N, n_classes), and labels (N,). Out: two numbers.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional


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
