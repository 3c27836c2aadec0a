"""A dressed circuit whose first layer was trained without it.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes).
"""

from __future__ import annotations

from typing import Any

import torch

from pipeline.heads.base import Affine, Head
from pipeline.heads.dressed import DressedQuantumNet


class SequentialNet(DressedQuantumNet):
    """Linear → tanh → · π/2 → circuit → Linear, trained in two phases.

    In the first, the classical head Linear → tanh → Linear is trained. In the second, its first layer is frozen, its
    last one left aside, and the circuit is trained with a last layer of its own. Each phase goes through all epochs,
    with the learning rate from its start. So what the circuit adds can be told from what the first layer does.

    Source: P. Altmann et al., "SEQUENT: Towards traceable quantum machine learning using sequential quantum enhanced
    training", arXiv:2301.02601, where the first phase has a classical layer in the circuit's place too.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        options: As of ``DressedQuantumNet``, without ``pre_net``.

    Attributes:
        classical_net: Linear(n_qubits, n_classes), the last layer of the first phase.
    """

    def __init__(self, n_features: int = 512, n_classes: int = 2, *sizes: Any, **options: Any) -> None:
        super().__init__(n_features, n_classes, *sizes, **options | {"pre_net": "linear"})
        self.classical_net = Affine(self.pre_net.out_features, n_classes)
        self.begin(1)

    def begin(self, phase: int) -> None:
        """Train the classical head in phase 0, the circuit and its last layer in phase 1."""
        self.without_circuit = phase == 0
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(("pre_net.", "classical_net.")) == self.without_circuit)

    @property
    def description(self) -> str:
        """As of a dressed circuit, with how it is trained."""
        return f"{self.pre_net.out_features} angles trained without the circuit, {super().description}"

    @property
    def trains_circuit(self) -> bool:
        """Yes, though not in every phase."""
        return True

    @property
    def n_trainable(self) -> int:
        """The number of parameters that training changes and that the trained head has: without ``classical_net``."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("classical_net."))

    @property
    def n_middle(self) -> int:
        """The number of the circuit's parameters."""
        return self.q_params.numel()

    @property
    def is_plain(self) -> bool:
        """As of a dressed circuit, where the circuit takes part."""
        return not self.without_circuit and super().is_plain

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of the first layer, and the logits of the first phase."""
        activations = self.pre_net(features)
        return activations, self.classical_net(torch.tanh(activations))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As in :class:`DressedQuantumNet`; in the first phase, without the circuit."""
        return Head.forward(self, features) if self.without_circuit else super().forward(features)
