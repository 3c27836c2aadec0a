"""A trained dressed head in plain matrix products, for programs that know no quantum circuits.

In: features of shape (B, n_features), float32. Out: logits of shape (B, n_classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from features.util.errors import InputError
from pipeline.heads.base import QUARTER_TURN
from pipeline.quantum.mari.dense import dense_circuit

if TYPE_CHECKING:
    from pipeline.heads.dressed import DressedQuantumNet

MAX_QUBITS = 10
"""The circuit's matrix has 4ⁿ numbers: 4 MB at 10 qubits, four times as much with each further one."""


class FixedHead(nn.Module):
    """A trained dressed head in plain matrix products, for programs that know no quantum circuits.

    With its weights fixed, all gates behind the embedding are one matrix. The embedded state is the cosines and sines
    of ``signs @ x``, so the expectation values are three products: signs, matrix, and signs of Z over the squares.

    Args:
        head: A trained head; its parameters are copied, as float32.

    Raises:
        InputError: If it has more than ``MAX_QUBITS`` qubits.
        ValueError: If its circuit has gates that the reader of its tape refuses.
    """

    signs: torch.Tensor
    matrix: torch.Tensor
    z_signs: torch.Tensor

    def __init__(self, head: DressedQuantumNet) -> None:
        super().__init__()
        if head.circuit.n_qubits > MAX_QUBITS:
            raise InputError(
                f"the head has {head.circuit.n_qubits} qubits; as matrix products a circuit can have at most "
                f"{MAX_QUBITS}. Train one of fewer (--qubits), or use the network in Python: HybridClassifier.load, "
                "whose demo_state_dict() gives its weights"
            )
        circuit = dense_circuit(head.circuit, "float64")
        matrix = circuit.output_matrix(head.q_params.detach().double().cpu())
        for name, values in (
            ("signs", torch.from_numpy(circuit.input_signs)),
            ("matrix", matrix),
            ("z_signs", torch.from_numpy(circuit.z_signs)),
        ):
            self.register_buffer(name, values.float().T.contiguous())
        self.pre_net, self.post_net = head.pre_net, head.post_net

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features)."""
        phases = (torch.tanh(self.pre_net(features)) * QUARTER_TURN) @ self.signs
        amplitudes = torch.cat([phases.cos(), phases.sin()], dim=1) @ self.matrix
        return self.post_net((amplitudes * amplitudes) @ self.z_signs)
