"""A support vector machine on any kernel: fitted by scikit-learn, evaluated by torch.

In: kernels of all pairs of training rows. Then: kernels (B, n_support) of rows with the support vectors → logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.heads.controls.baselines import inner_folds

STRENGTHS = tuple(10.0**k for k in range(-2, 3))
"""Values of C, the inverse strength of regularisation, that are tried."""


class KernelMachine(nn.Module):
    """Support vectors, and their weights in the decision between each two classes.

    Logits are the decision values of scikit-learn's ``SVC`` times one positive number. For two classes these are
    -d/2 and d/2; for more, the votes of all pairs of classes, ties broken by their sums, as ``SVC`` does with
    ``break_ties``. So the class is the one that ``SVC`` predicts. The factor is the one for which their softmax has the
    lowest log loss on the inner folds' held-out rows: temperature scaling (C. Guo et al., arXiv:1706.04599).

    Args:
        width: Of a support vector.
        n_classes: Number of classes.

    Attributes:
        vectors: The support vectors, (n_support, width).
        pair_weights: Their weights for each pair of classes, (n_pairs, n_support): positive for the second one.
        intercepts: Of each pair, (n_pairs,).
        C: The inverse strength of regularisation that was chosen; 0 before.
        factor: What decision values are multiplied by.
    """

    vectors: torch.Tensor
    C: torch.Tensor
    factor: torch.Tensor
    _pairs: torch.Tensor

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.pairs = list(combinations(range(n_classes), 2))
        self.n_classes = n_classes
        self.pair_weights = nn.Parameter(torch.zeros(len(self.pairs), 0))
        self.intercepts = nn.Parameter(torch.zeros(len(self.pairs)))
        self.register_buffer("vectors", torch.zeros(0, width))
        self.register_buffer("C", torch.zeros((), dtype=torch.float64))
        self.register_buffer("factor", torch.ones((), dtype=torch.float64))
        table = torch.zeros(2, len(self.pairs), n_classes, dtype=torch.float64)
        for row, pair in enumerate(self.pairs):
            table[0, row, pair[0]] = table[1, row, pair[1]] = 1
        self.register_buffer("_pairs", table, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of features and logits."""
        return self.intercepts.dtype

    @property
    def n_fitted(self) -> int:
        """The numbers that were fitted: of each support vector a weight for every other class, and the intercepts; 0
        before."""
        return (self.n_classes - 1) * len(self.vectors) + len(self.intercepts) if len(self.vectors) else 0

    @property
    def description(self) -> str:
        """Support vectors and classes."""
        each = "a weight" if self.n_classes == 2 else f"{self.n_classes - 1} weights"
        return f"{len(self.vectors) or ''} support vectors, {each} each → {self.n_classes}".lstrip()

    def forward(self, kernel: torch.Tensor) -> torch.Tensor:
        """Logits (B, n_classes), in ``dtype``, from kernels with the support vectors (B, n_support), float64."""
        second = kernel @ self.pair_weights.to(kernel.dtype).T + self.intercepts.to(kernel.dtype)
        return (self.factor * decision_values(second, self._pairs[0], self._pairs[1])).to(self.dtype)

    def fit(
        self,
        head: str,
        kernels: Mapping[float, Callable[[], torch.Tensor]],
        rows: torch.Tensor,
        labels: torch.Tensor,
        seed: int,
        class_weights: torch.Tensor | None = None,
    ) -> float:
        """Choose a kernel and C by the accuracy on inner folds, fit all rows, keep the support vectors.

        Of equal accuracies the first counts: the earliest kernel, the smallest C.

        Args:
            head: Its name, for messages.
            kernels: By a number that names them, what makes the kernel of all pairs of rows, (N, N).
            rows: The rows as support vectors are kept, (N, width).
            labels: Class indices, int64 of shape (N,).
            seed: Of the inner folds.
            class_weights: As of :meth:`Head.prepare`; the accuracy counts all rows the same.

        Returns:
            The number of the kernel that was chosen.

        Raises:
            InputError: If the classes are fewer than 2, or one has fewer than 2 rows.
        """
        from threadpoolctl import threadpool_limits

        truth = labels.numpy()
        folds = list(inner_folds(head, truth, self.n_classes, seed).split(truth, truth))
        weights = None if class_weights is None else dict(enumerate(class_weights.tolist()))
        best, chosen, held_out = -1.0, (0.0, 0.0), np.zeros((0, 0))
        with threadpool_limits(1):
            for number, make in kernels.items():
                kernel = make().numpy()
                for strength in STRENGTHS:
                    values = np.zeros((len(truth), self.n_classes))
                    for train, test in folds:
                        fold = _fitted(strength, kernel[np.ix_(train, train)], truth[train], weights)
                        values[test] = _by_class(fold.decision_function(kernel[np.ix_(test, train)]))
                    accuracy = float((values.argmax(axis=1) == truth).mean())
                    if accuracy > best:
                        best, chosen, held_out = accuracy, (number, strength), values
            final = _fitted(chosen[1], kernels[chosen[0]]().numpy(), truth, weights)
        self._keep(final, rows)
        self.C.fill_(chosen[1])
        self.factor.fill_(best_factor(held_out, truth))
        return chosen[0]

    def _keep(self, fitted: Any, rows: torch.Tensor) -> None:
        classes = np.repeat(np.arange(self.n_classes), fitted.n_support_)
        # For two classes scikit-learn turns the sign round.
        sign = 1 if self.n_classes == 2 else -1
        weights = np.zeros((len(self.pairs), len(classes)))
        for row, (i, j) in enumerate(self.pairs):
            weights[row, classes == i] = sign * fitted.dual_coef_[j - 1, classes == i]
            weights[row, classes == j] = sign * fitted.dual_coef_[i, classes == j]
        with torch.no_grad():
            self.pair_weights.data = torch.from_numpy(weights).to(self.dtype)
            self.intercepts.copy_(torch.from_numpy(sign * fitted.intercept_))
            self.vectors = rows[torch.from_numpy(fitted.support_).long()].clone()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take as many support vectors as there are in the state."""
        for name in ("vectors", "pair_weights"):
            if f"{prefix}{name}" in state_dict:
                tensor, axis = getattr(self, name), 0 if name == "vectors" else 1
                shape = list(tensor.shape)
                shape[axis] = state_dict[f"{prefix}{name}"].shape[axis]
                tensor.data = tensor.new_zeros(shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def decision_values(second: torch.Tensor, is_first: torch.Tensor, is_second: torch.Tensor) -> torch.Tensor:
    """The decision value of each class (B, n_classes), from those of all pairs (B, n_pairs).

    Args:
        second: Positive where the pair's second class is decided for.
        is_first: Which class is the first of each pair, (n_pairs, n_classes), zeros and ones.
        is_second: Likewise the second.
    """
    sums = second @ (is_second - is_first)
    if len(is_first) == 1:
        return sums / 2
    wins = (second > 0).to(second.dtype)
    return wins @ is_second + (1 - wins) @ is_first + sums / (3 * (sums.abs() + 1))


def best_factor(values: np.ndarray, labels: np.ndarray) -> float:
    """The factor between 1e-3 and 1e3 for which the softmax of values (N, n_classes) has the lowest log loss."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def loss(log_factor: float) -> float:
        logits = np.exp(log_factor) * values
        return float((logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())

    reach = np.log(1e3)
    return float(np.exp(minimize_scalar(loss, bounds=(-reach, reach), method="bounded").x))


def _fitted(strength: float, kernel: np.ndarray, labels: np.ndarray, weights: dict[int, float] | None) -> Any:
    from sklearn.svm import SVC

    return SVC(C=strength, kernel="precomputed", class_weight=weights).fit(kernel, labels)


def _by_class(decided: np.ndarray) -> np.ndarray:
    """Decision values of scikit-learn as (N, n_classes)."""
    return np.stack([-decided, decided], axis=1) / 2 if decided.ndim == 1 else decided
