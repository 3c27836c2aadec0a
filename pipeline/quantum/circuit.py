"""The variational circuit of the dressed quantum network, written once, in PennyLane.

In: one angle a wire and sample, and the trainable weights. Out: the expectation value of Z on every wire.
Every simulator reads its gates off its tape, so that changing this file changes all of them.

Source: A. Mari, T. R. Bromley, J. Izaac, M. Schuld, N. Killoran, "Transfer learning in hybrid
classical-quantum neural networks", Quantum 4, 340 (2020), arXiv:1912.08278, section 4 and figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pennylane as qml

from pipeline.quantum.choices import ENTANGLERS


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The shape of the circuit: H and RY(x_i) on every wire, then ``depth`` times {entangler, RY(w) on every wire}.

    Attributes:
        n_qubits: Number of wires, at least 1.
        depth: Number of variational layers, at least 0.
        entangler: ``chain`` puts CNOT(i, i+1) for even i, then for odd i, as in the paper: an open chain.
            ``ring`` closes the chain with CNOT(n-1, 0). ``none`` leaves the wires unentangled.
    """

    n_qubits: int = 4
    depth: int = 6
    entangler: str = "chain"

    def __post_init__(self) -> None:
        problems = []
        if self.n_qubits < 1:
            problems.append(f"n_qubits is {self.n_qubits}; a circuit has at least 1 qubit")
        if self.depth < 0:
            problems.append(f"depth is {self.depth}; a circuit has 0 or more layers")
        if self.entangler not in ENTANGLERS:
            problems.append(f"entangler is {self.entangler!r}; choose one of {', '.join(ENTANGLERS)}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def __name__(self) -> str:
        return "mari"

    @property
    def n_inputs(self) -> int:
        """Inputs a sample: an angle a wire."""
        return self.n_qubits

    @property
    def n_weights(self) -> int:
        """The number of trainable angles, depth · n_qubits."""
        return self.depth * self.n_qubits

    def __call__(self, inputs: Any, weights: Any) -> list[Any]:
        """Queue the gates and measurements; to be called inside a QNode.

        Args:
            inputs: Angles in radians of shape (n_qubits,) or (B, n_qubits).
            weights: Angles in radians of shape (depth · n_qubits,), layer by layer.

        Returns:
            ``n_qubits`` measurements of ⟨Z⟩.
        """
        self.embedding(inputs)
        self.variational_block(weights)
        return [qml.expval(qml.PauliZ(wire)) for wire in range(self.n_qubits)]

    def embedding(self, inputs: Any) -> None:
        """Queue the gates that load one angle on each wire: single-wire gates only, which give a product state."""
        for wire in range(self.n_qubits):
            qml.Hadamard(wires=wire)
        for wire in range(self.n_qubits):
            qml.RY(inputs[..., wire], wires=wire)

    def variational_block(self, weights: Any) -> None:
        """Queue the gates behind the embedding: the same for every sample of a batch."""
        for layer in range(self.depth):
            self._entangle()
            for wire in range(self.n_qubits):
                qml.RY(weights[layer * self.n_qubits + wire], wires=wire)

    def _entangle(self) -> None:
        if self.entangler == "none":
            return
        for first in (0, 1):
            for wire in range(first, self.n_qubits - 1, 2):
                qml.CNOT(wires=[wire, wire + 1])
        # On two wires the chain has the only pair already: closing it would add a second CNOT.
        if self.entangler == "ring" and self.n_qubits > 2:
            qml.CNOT(wires=[self.n_qubits - 1, 0])

    def qnode(self, device: str = "lightning.qubit", diff_method: str | None = "adjoint") -> Callable:
        """The circuit as an ordinary QNode of (inputs, weights) on any PennyLane device, differentiable by torch."""
        return qml.QNode(self, qml.device(device, wires=self.n_qubits), interface="torch", diff_method=diff_method)
