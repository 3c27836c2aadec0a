"""The trainable head: features in, logits out.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes), in the features' dtype.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from pipeline.circuit import Circuit

SIMULATORS = ("lightning", "qnode")


class DressedQuantumNet(nn.Module):
    """A quantum circuit between two linear layers: Linear → tanh → · π/2 → circuit → Linear.

    Source: Mari et al., arXiv:1912.08278, equation 11; the PennyLane demo "Quantum transfer learning". Names, shapes
    and the order of initialisation are the demo's, so that a ``state_dict`` trained with its code loads here.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_qubits: Wires of the circuit.
        depth: Variational layers of the circuit.
        q_delta: Standard deviation of the initial quantum weights, in radians.
        simulator: ``lightning`` runs on lightning.qubit with adjoint differentiation; ``qnode`` runs the circuit as an
            ordinary QNode on ``device``.
        device: PennyLane device of the ``qnode`` simulator.
        entangler: ``chain`` (the paper's), ``ring`` or ``none``.

    Attributes:
        pre_net: Linear(n_features, n_qubits).
        q_params: Quantum weights of shape (depth · n_qubits,), in radians.
        post_net: Linear(n_qubits, n_classes).
    """

    def __init__(
        self,
        n_features: int = 512,
        n_classes: int = 2,
        n_qubits: int = 4,
        depth: int = 6,
        q_delta: float = 0.01,
        simulator: str = "lightning",
        *,
        device: str = "default.qubit",
        entangler: str = "chain",
    ) -> None:
        super().__init__()
        if simulator not in SIMULATORS:
            raise ValueError(f"simulator is {simulator!r}; choose one of {', '.join(SIMULATORS)}")
        self.circuit = Circuit(n_qubits=n_qubits, depth=depth, entangler=entangler)
        self.simulator = simulator
        self.device_name = "lightning.qubit" if simulator == "lightning" else device
        self.pre_net = nn.Linear(n_features, n_qubits)
        self.q_params = nn.Parameter(q_delta * torch.randn(self.circuit.n_weights))
        self.post_net = nn.Linear(n_qubits, n_classes)
        self._qnode: Any = None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features)."""
        angles = torch.tanh(self.pre_net(features)) * (math.pi / 2)
        return self.post_net(self.expectation_values(angles))

    def expectation_values(self, angles: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire, shape (B, n_qubits), from embedding angles of that shape, in radians."""
        if self._qnode is None:
            diff_method = "adjoint" if self.device_name.startswith("lightning") else "best"
            self._qnode = self.circuit.qnode(self.device_name, diff_method)
        return torch.stack(self._qnode(angles, self.q_params), dim=-1).to(angles.dtype)

    def __getstate__(self) -> dict[str, Any]:
        # PennyLane's devices can be neither pickled nor copied (pennylane#2204): a copy makes its own on first use.
        return super().__getstate__() | {"_qnode": None}
