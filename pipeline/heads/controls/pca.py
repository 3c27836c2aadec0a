"""A dressed circuit behind principal components: no trained classical layer in front of it.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from features.util.errors import InputError
from pipeline.heads.base import check_features, refuse_non_finite
from pipeline.heads.dressed import DressedQuantumNet


class PcaNet(DressedQuantumNet):
    """Principal components, each over its standard deviation → tanh → · π/2 → circuit → Linear.

    The components are those of the training rows, as many as the circuit has inputs, and are not trained: the layer
    ``pre_net`` holds them, so that angles lie within ±π/2 as in the trained head. A row one standard deviation from
    the mean has the angle 0.76 · π/2. A component without variance gives the angle 0.

    Source: compression to as many principal components as qubits is the usual way to do without a trained layer, for
    example in J. Bowles et al., arXiv:2403.07059; the standard deviation as their scale is ours, chosen so that tanh
    sees values of the order of 1 whatever the features' scale.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        options: As of ``DressedQuantumNet``, without ``pre_net``.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, *sizes: Any, **options: Any) -> None:
        super().__init__(n_features, n_classes, *sizes, **options | {"pre_net": "linear"})
        self.pre_net.requires_grad_(False)

    def prepare(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        class_weights: torch.Tensor | None = None,  # noqa: ARG002
    ) -> None:
        """Fit the components to rows of shape (N, n_features); labels, seed and weights take no part.

        Raises:
            InputError: If there are fewer than 2 rows.
        """
        check_features(features, self.n_features, self.q_params.dtype)
        fit_components(self.pre_net, features)

    @property
    def description(self) -> str:
        """As of a dressed circuit, with what stands in front."""
        return f"{self.pre_net.out_features} principal components, {super().description}"


def fit_components(layer: nn.Linear, features: torch.Tensor) -> None:
    """Make a layer give the principal components of rows (N, n_features), each over its standard deviation.

    Raises:
        InputError: If there are fewer than 2 rows.
        NonFiniteError: If they are not finite.
    """
    refuse_non_finite(features, features)
    if len(features) < 2:
        raise InputError(f"principal components need 2 training rows or more; here is {len(features)}")
    mean, directions = whitening(features.double().numpy(), layer.out_features)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(directions))
        layer.bias.copy_(torch.from_numpy(-directions @ mean))


def whitening(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of rows (N, D), and directions (n, D): ``(rows - mean) @ directions.T`` has variance 1 in each column.

    The directions are the first ``n`` principal components over their standard deviations, zero where rows have no
    variance beyond rounding. Of a direction and its opposite, it is the one whose largest entry is positive.
    """
    mean = rows.mean(axis=0)
    _, singular, components = np.linalg.svd(rows - mean, full_matrices=False)
    components, singular = components[:n], singular[:n]
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    # Features are float32: below this, a component is their rounding.
    real = singular > max(rows.shape) * np.finfo(np.float32).eps * singular[0]
    scales = np.sign(largest) * np.divide(np.sqrt(len(rows) - 1), singular, where=real, out=np.zeros_like(singular))
    directions = np.zeros((n, rows.shape[1]))
    directions[: len(components)] = scales[:, None] * components
    return mean, directions
