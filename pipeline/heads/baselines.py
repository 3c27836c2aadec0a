"""The controls: heads that tell what the circuit is worth, by doing without it.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes). As in :mod:`pipeline.heads.dressed`, the
first layer draws its initial weights first, so that heads of one seed and width start from the same one.

Why they are needed: in 160 data sets of J. Bowles, S. Ahmed, M. Schuld, "Better than classical? The subtle art of
benchmarking quantum machine learning models", arXiv:2403.07059, quantum models without entanglement were often as good
or better; and M. Kölle et al., "Disentangling quantum and classical contributions in hybrid quantum machine learning
architectures", arXiv:2311.05559, find that in dressed circuits it is mainly the classical layer in front that
classifies. The controls with a circuit are a ``DressedQuantumNet`` without entangler, or with frozen weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from features.util.errors import InputError
from pipeline.heads.dressed import Head, check_features
from pipeline.quantum.autograd import NonFiniteError, non_finite

STRENGTHS = tuple(10.0**k for k in range(-4, 3))
INNER_FOLDS = 5


class LinearNet(Head):
    """One linear layer from the features to the classes, trained as the other heads are.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__()
        self.linear = Affine(n_features, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        return f"{self.linear.in_features} → {self.linear.out_features}"

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (…, B, n_classes)."""
        logits = self.linear(features)
        _refuse_non_finite(features, logits)
        return logits


class ClassicalNet(Head):
    """The dressed network with its circuit removed: Linear → tanh → Linear.

    The circuit's ⟨Z⟩ lie between -1 and 1, as the tanh does. The factor π/2 makes angles and goes with the circuit.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_hidden: Width between the layers: the qubits of the quantum head.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, n_hidden: int = 4) -> None:
        super().__init__()
        self.pre_net = Affine(n_features, n_hidden)
        self.post_net = Affine(n_hidden, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        return f"{self.pre_net.in_features} → {self.pre_net.out_features} → tanh → {self.post_net.out_features}"

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (…, B, n_classes)."""
        activations = self.pre_net(features)
        logits = self.post_net(self.between(torch.tanh(activations)))
        # tanh hides an infinity, so both sides of it are looked at.
        _refuse_non_finite(features, activations, logits)
        return logits

    def between(self, values: torch.Tensor) -> torch.Tensor:
        """What stands in the circuit's place, (…, B, n_hidden) to the same shape: nothing."""
        return values


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
        nn.Module.__init__(self)
        self.pre_net = Affine(n_features, n_hidden)
        # Layers of no units would draw no weights, and torch warns of them.
        self.inner = Affine(n_hidden, depth // 2, bias=False) if depth > 1 else None
        self.outer = Affine(depth // 2, n_hidden, bias=False) if depth > 1 else None
        self.outer_bias = nn.Parameter(torch.zeros(n_hidden)) if depth % 2 else None
        self.post_net = Affine(n_hidden, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        n_hidden = self.pre_net.out_features
        units = 0 if self.inner is None else self.inner.out_features
        return (
            f"{self.pre_net.in_features} → {n_hidden} → tanh → {units} tanh units beside a skip → "
            f"{self.post_net.out_features}"
        )

    def between(self, values: torch.Tensor) -> torch.Tensor:
        """What stands in the circuit's place, (…, B, n_hidden) to the same shape."""
        added = values
        if self.inner is not None and self.outer is not None:
            added = added + self.outer(torch.tanh(self.inner(values)))
        return added if self.outer_bias is None else added + self.outer_bias[..., None, :]


class LogisticNet(LinearNet):
    """scikit-learn's logistic regression with an L2 penalty, in the shape of :class:`LinearNet`: the baseline to beat.

    Attributes:
        C: The inverse strength of regularisation that :meth:`fit` chose; 0 before.
    """

    C: torch.Tensor

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__(n_features, n_classes)
        self.register_buffer("C", torch.zeros(()))

    def fit(self, features: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
        """Fit to the optimum, with C chosen by 5-fold cross-validated log loss on these very rows and no others.

        Args:
            features: Shape (N, n_features).
            labels: Class indices, int64 of shape (N,).
            seed: Of the inner folds.

        Raises:
            InputError: If the classes are fewer than 2, or one has fewer than 2 rows.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from threadpoolctl import threadpool_limits

        check_features(features, self.linear.weight, dimensions=(2,))
        _refuse_non_finite(features, features)
        counts = np.bincount(labels.numpy(), minlength=self.linear.out_features)
        if len(counts) < 2 or counts.min() < 2:
            raise InputError(
                f"the logistic head needs 2 classes or more with 2 training rows each, to choose its regularisation by "
                f"cross-validation; here the classes have {', '.join(map(str, counts))}"
            )
        folds = StratifiedKFold(int(min(INNER_FOLDS, counts.min())), shuffle=True, random_state=seed)
        model = LogisticRegression(max_iter=2000)
        search = GridSearchCV(model, {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
        # For arrays this small a second thread costs more than it does.
        with threadpool_limits(1):
            best = search.fit(features.double().numpy(), labels.numpy()).best_estimator_
        weight, bias = torch.from_numpy(best.coef_), torch.from_numpy(best.intercept_)
        if len(weight) == 1:
            # Of two classes scikit-learn keeps the one logit that tells them apart.
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)
            self.C.fill_(best.C)


class Affine(nn.Linear):
    """A linear layer that also takes stacked weights: a leading heads axis is carried through."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (…, B, in_features) to (…, B, out_features)."""
        check_features(features, self.weight, dimensions=(self.weight.ndim,))
        # In this order the gradient of the weights comes out laid as they are, and need not be copied.
        # ``mT`` would say the same, but has no counterpart in ONNX.
        product = (self.weight @ features.transpose(-2, -1)).transpose(-2, -1)
        return product if self.bias is None else product + self.bias[..., None, :]


class ControlNets(nn.Module):
    """Many controls of one make side by side, as ``DressedQuantumNets`` is many dressed heads.

    Args:
        heads: Heads alike in everything but their parameters, which are copied.

    Raises:
        ValueError: If there is no head, or they differ in kind or shape.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        makes = {(type(head), *(tuple(tensor.shape) for tensor in head.parameters())) for head in heads}
        if len(makes) != 1:
            raise ValueError(
                f"{len(heads)} heads of {len(makes)} makes; heads trained together must be at least one, and alike in "
                "kind and shape"
            )
        # Its layers carry a leading axis through: with stacked parameters one control is many.
        self.together = copy.deepcopy(heads[0])
        for name, parameter in self.together.named_parameters():
            parameter.data = torch.stack([head.get_parameter(name).detach() for head in heads])
        self._n_heads = len(heads)

    def __len__(self) -> int:
        return self._n_heads

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of shape (heads, B, n_classes).

        Args:
            features: Shape (heads, B, n_features), or (N, n_features) of the samples that all heads share.
            rows: Which of the shared samples make up each head's batch, int64 of shape (heads, B); all if None.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite.
        """
        batches = features
        if rows is not None:
            batches = features.index_select(0, rows.reshape(-1)).view(len(self), -1, features.shape[-1])
        elif features.ndim == 2:
            batches = features.expand(len(self), -1, -1)
        try:
            return self.together(batches)
        except NonFiniteError:
            # Of shared features the row is named, not a place in some head's batch.
            raise non_finite(features) from None

    def backward_cross_entropy(
        self, features: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of each head's own mean cross-entropy, which replace those of the step before.

        Args:
            features: As for ``forward``.
            labels: Class indices, int64 of shape (heads, B).
            rows: As for ``forward``.

        Returns:
            Each head's loss, of shape (heads,), and the logits (heads, B, n_classes), both detached.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite, or labels no classes.
        """
        self.zero_grad()
        logits = self(features, rows)
        each = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        losses = each.mean(dim=1)
        losses.sum().backward()
        return losses.detach(), logits.detach()

    def head_state(self, index: int) -> dict[str, torch.Tensor]:
        """The ``state_dict`` of one of the heads: a copy."""
        return {name: parameter[index].detach().clone() for name, parameter in self.together.named_parameters()}


def _refuse_non_finite(features: torch.Tensor, *computed: torch.Tensor) -> None:
    if not all(tensor.isfinite().all() for tensor in computed):
        raise non_finite(features)
