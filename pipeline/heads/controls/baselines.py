"""Heads without a circuit: they show how much the circuit contributes.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes). As in :mod:`pipeline.heads.dressed`, the
first layer draws its initial weights first, so that heads of one seed and width start from the same one.

Sources: in 160 data sets of J. Bowles, S. Ahmed, M. Schuld, "Better than classical? The subtle art of benchmarking
quantum machine learning models", arXiv:2403.07059, quantum models without entanglement were often as good or better;
M. Kölle et al., "Disentangling quantum and classical contributions in hybrid quantum machine learning architectures",
arXiv:2311.05559, find that in dressed circuits it is mainly the classical layer in front that classifies. The baselines
with a circuit are a ``DressedQuantumNet`` without entangler, or with frozen weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from features.util.errors import InputError
from pipeline.heads.base import TANH, Affine, Head, check_features, refuse_non_finite

if TYPE_CHECKING:
    from sklearn.model_selection import StratifiedKFold

STRENGTHS = tuple(10.0**k for k in range(-4, 3))
INNER_FOLDS = 5


class LinearNet(Head):
    """One linear layer from the features to the classes.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
    """

    takes_heads_axis = True

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__()
        self.n_features = n_features
        self.linear = Affine(n_features, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        return f"{self.n_features} → {self.linear.out_features}"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits."""
        return (self.linear(features),)


class ClassicalNet(Head):
    """The dressed network with its circuit removed: Linear → tanh → Linear.

    The circuit's ⟨Z⟩ lie between -1 and 1, as the tanh does. The factor π/2 makes angles and goes with the circuit.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_hidden: Width between the layers: the qubits of the quantum head.
    """

    takes_heads_axis = True

    def __init__(self, n_features: int = 512, n_classes: int = 2, n_hidden: int = 4) -> None:
        super().__init__()
        self.n_features = n_features
        self.pre_net = Affine(n_features, n_hidden)
        self.post_net = Affine(n_hidden, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        return f"{self.n_features} → {self.pre_net.out_features} → tanh → {self.post_net.out_features}"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs of both layers: tanh hides an infinity in the first."""
        activations = self.pre_net(features)
        return activations, self.post_net(torch.tanh(activations))

    def hidden_values(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tanh of the first layer, (B, n_hidden)."""
        return {TANH: torch.tanh(self.pre_net(features))}


class MlpNet(ClassicalNet):
    """The dressed network with its circuit replaced by a classical layer of exactly as many parameters, depth · n.

    The layer is x + V tanh(W x), with depth // 2 hidden units and no biases: W has depth // 2 · n weights, and V as
    many. An odd depth leaves n over, which become a bias at its output. It adds to its input (He et al.,
    arXiv:1512.03385), so that few hidden units do not narrow the way from the first layer to the last; a circuit, being
    unitary, does not either. With depth 0 both are gone.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_hidden: Width between the layers: the qubits of the quantum head.
        depth: Depth of the circuit it stands in for.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, n_hidden: int = 4, depth: int = 6) -> None:
        Head.__init__(self)
        self.n_features = n_features
        self.pre_net = Affine(n_features, n_hidden)
        # Layers of no units would draw no weights, and torch warns of them.
        self.inner = Affine(n_hidden, depth // 2, bias=False) if depth > 1 else None
        self.outer = Affine(depth // 2, n_hidden, bias=False) if depth > 1 else None
        self.outer_bias = torch.nn.Parameter(torch.zeros(n_hidden)) if depth % 2 else None
        self.post_net = Affine(n_hidden, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        units = 0 if self.inner is None else self.inner.out_features
        return (
            f"{self.n_features} → {self.pre_net.out_features} → tanh → {units} tanh units beside a skip → "
            f"{self.post_net.out_features}"
        )

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of the first layer, and the logits."""
        activations = self.pre_net(features)
        hidden = torch.tanh(activations)
        added = hidden
        if self.inner is not None and self.outer is not None:
            added = added + self.outer(torch.tanh(self.inner(hidden)))
        if self.outer_bias is not None:
            added = added + self.outer_bias[..., None, :]
        return activations, self.post_net(added)


class LogisticNet(LinearNet):
    """Logistic regression with an L2 penalty, fitted by scikit-learn, in the shape of :class:`LinearNet`.

    Attributes:
        C: The inverse strength of regularisation that :meth:`prepare` chose; 0 before.
    """

    C: torch.Tensor

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__(n_features, n_classes)
        self.register_buffer("C", torch.zeros(()))

    def prepare(
        self, features: torch.Tensor, labels: torch.Tensor, seed: int, class_weights: torch.Tensor | None = None
    ) -> None:
        """Fit to the optimum, with C chosen by 5-fold cross-validated log loss on these very rows and no others.

        Args:
            features: Shape (N, n_features).
            labels: Class indices, int64 of shape (N,).
            seed: Of the inner folds.
            class_weights: What each class counts in the loss, of shape (n_classes,); in the choice of C all rows count
                the same.

        Raises:
            InputError: If the classes are fewer than 2, or one has fewer than 2 rows.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from threadpoolctl import threadpool_limits

        check_features(features, self.n_features, self.linear.weight.dtype)
        refuse_non_finite(features, features)
        folds = inner_folds("logistic", labels.numpy(), self.linear.out_features, seed)
        weights = None if class_weights is None else dict(enumerate(class_weights.tolist()))
        model = LogisticRegression(max_iter=2000, class_weight=weights)
        search = GridSearchCV(model, {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
        # For arrays this small a second thread costs more than it does.
        with threadpool_limits(1):
            best = search.fit(features.double().numpy(), labels.numpy()).best_estimator_
        weight, bias = torch.from_numpy(best.coef_), torch.from_numpy(best.intercept_)
        if len(weight) == 1:
            # For two classes scikit-learn keeps one logit, their difference.
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            self.C.fill_(best.C)


def inner_folds(head: str, labels: np.ndarray, n_classes: int, seed: int) -> StratifiedKFold:
    """How a fitted head divides its training rows to choose its settings: 5 folds, fewer if a class has fewer rows.

    Raises:
        InputError: If the classes are fewer than 2, or one has fewer than 2 rows.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels, minlength=n_classes)
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            f"the {head} head needs 2 classes or more with 2 training rows each, to choose its regularisation by "
            f"cross-validation; here the classes have {', '.join(map(str, counts))}"
        )
    return StratifiedKFold(int(min(INNER_FOLDS, counts.min())), shuffle=True, random_state=seed)
