"""Classical heads of fixed features behind the trained layer: what a circuit could say, without one.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes).
"""

from __future__ import annotations

import math

import torch

from pipeline.heads.base import QUARTER_TURN, Affine, Head
from pipeline.heads.controls.baselines import ClassicalNet

MAX_WIRES = 8
"""Wires up to which a surrogate is made: 3⁸ are 6,561 features."""


class SurrogateNet(ClassicalNet):
    """Linear → tanh → · π/2 → all products of 1, cos xᵢ, sin xᵢ → Linear.

    It can be what any circuit with one rotation a wire in front is. Behind rotations by x₁ … xₙ the density matrix is a
    product of matrices whose entries are linear in 1, cos xᵢ and sin xᵢ. Whatever unitary follows, and whatever is
    measured, an expectation value is linear in the density matrix, and so in the 3ⁿ products.

    Source: M. Schuld, R. Sweke, J. J. Meyer, arXiv:2008.08605; F. J. Schreiber, J. Eisert, J. J. Meyer,
    "Classical surrogates for quantum learning models", arXiv:2206.11740.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_hidden: Angles, the qubits of the circuit: at most ``MAX_WIRES``.

    Raises:
        ValueError: If there are too many angles.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, n_hidden: int = 4) -> None:
        Head.__init__(self)
        if n_hidden > MAX_WIRES:
            raise ValueError(f"n_hidden is {n_hidden}; with 3^n_hidden features it must be {MAX_WIRES} or less")
        self.n_features = n_features
        self.pre_net = Affine(n_features, n_hidden)
        self.post_net = Affine(3**n_hidden, n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        widths = (self.pre_net.out_features, self.post_net.in_features, self.post_net.out_features)
        return f"{self.n_features} → {widths[0]} angles → {widths[1]} products of 1, cos, sin → {widths[2]}"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of the first layer, and the logits."""
        activations = self.pre_net(features)
        return activations, self.post_net(products(torch.tanh(activations) * QUARTER_TURN))


class FourierNet(ClassicalNet):
    """Linear → tanh → · π/2 → cosines of random directions → Linear: as many random cosines as the circuit has weights.

    Source: A. Rahimi, B. Recht, "Random features for large-scale kernel machines" (2007); as a rival of quantum models,
    J. Landman et al., arXiv:2210.13200, R. Sweke et al., arXiv:2309.11647.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_hidden: Angles: the qubits of the quantum head.
        n_cosines: Random features, which are drawn once and not trained.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, n_hidden: int = 4, n_cosines: int = 24) -> None:
        Head.__init__(self)
        self.n_features = n_features
        self.pre_net = Affine(n_features, n_hidden)
        self.cosines = Affine(n_hidden, max(1, n_cosines))
        with torch.no_grad():
            self.cosines.weight.normal_()
            self.cosines.bias.uniform_(0, 2 * math.pi)
        self.cosines.requires_grad_(False)
        self.post_net = Affine(max(1, n_cosines), n_classes)

    @property
    def description(self) -> str:
        """The widths."""
        widths = (self.pre_net.out_features, self.cosines.out_features, self.post_net.out_features)
        return f"{self.n_features} → {widths[0]} angles → {widths[1]} random cosines → {widths[2]}"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of the first layer, and the logits."""
        activations = self.pre_net(features)
        return activations, self.post_net(torch.cos(self.cosines(torch.tanh(activations) * QUARTER_TURN)))


def products(angles: torch.Tensor) -> torch.Tensor:
    """All products of one of 1, cos xᵢ, sin xᵢ for each i: shape (…, n) to (…, 3ⁿ), the last angle's fastest."""
    ones = torch.ones_like(angles)
    factors = torch.stack([ones, torch.cos(angles), torch.sin(angles)], dim=-1)
    result = factors[..., 0, :]
    for wire in range(1, angles.shape[-1]):
        result = (result[..., :, None] * factors[..., wire, None, :]).flatten(-2)
    return result
