"""Circuits for the tests of the simulators, and what ordinary QNodes say about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pennylane as qml
import torch
from hypothesis import strategies as st

from pipeline.quantum.choices import ENTANGLERS
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.engine.engine import Engine
from pipeline.quantum.program.program import make_program

circuits = st.builds(
    Circuit, n_qubits=st.integers(1, 8), depth=st.integers(0, 8), entangler=st.sampled_from(ENTANGLERS)
)
batches = st.integers(1, 17)
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class MixedCircuit(Circuit):
    """Rotations about all three axes, fixed complex gates, gates that PennyLane has to decompose."""

    def variational_block(self, weights):
        for layer in range(self.depth):
            self._entangle()
            for wire in range(self.n_qubits):
                index = layer * self.n_qubits + wire
                (qml.RX, qml.RY, qml.RZ)[index % 3](weights[index], wires=wire)
                if index % 4 == 1:
                    qml.S(wires=wire)
            qml.Hadamard(wires=0)
            if self.n_qubits > 1:
                qml.CRY(0.3, wires=[0, self.n_qubits - 1])


@dataclass(frozen=True, kw_only=True)
class RotCircuit(Circuit):
    """Three weights a wire, and an embedding with complex amplitudes."""

    @property
    def n_weights(self):
        return 3 * self.depth * self.n_qubits

    def embedding(self, inputs):
        for wire in range(self.n_qubits):
            qml.RX(inputs[..., wire], wires=wire)

    def variational_block(self, weights):
        for layer in range(self.depth):
            for wire in range(self.n_qubits):
                first = 3 * (layer * self.n_qubits + wire)
                qml.Rot(weights[first], weights[first + 1], weights[first + 2], wires=wire)
            self._entangle()


def engine_of(circuit: Circuit, c_dtype: str = "complex128") -> Engine:
    """The circuit on our simulator."""
    shapes = {"weights": (circuit.n_weights,)}
    program, _ = make_program(circuit, circuit.n_inputs, shapes, wires=range(circuit.n_qubits))
    return Engine(program, circuit, shapes, c_dtype, range(circuit.n_qubits))


def problem(circuit: Circuit, n_samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Angles, weights and a gradient with respect to the expectation values, in float64."""
    generator = torch.Generator().manual_seed(seed)
    angles = 4 * torch.rand(n_samples, circuit.n_qubits, generator=generator, dtype=torch.float64) - 2
    weights = 6 * torch.rand(circuit.n_weights, generator=generator, dtype=torch.float64) - 3
    upstream = torch.randn(n_samples, circuit.n_qubits, generator=generator, dtype=torch.float64)
    return angles, weights, upstream


def by_qnode(
    circuit: Circuit, angles: torch.Tensor, weights: torch.Tensor, upstream: torch.Tensor, diff_method: str = "backprop"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expectation values and both gradients by an ordinary QNode on default.qubit."""
    angles, weights = angles.clone().requires_grad_(), weights.clone().requires_grad_()
    qnode = circuit.qnode("default.qubit", diff_method)
    if diff_method == "backprop":
        values = torch.stack(list(qnode(angles, weights)), dim=-1)
    else:
        # The parameter-shift rule cannot differentiate a batch with respect to its own inputs (pennylane#4462).
        values = torch.stack([torch.stack(list(qnode(row, weights))) for row in angles])
    gradients = torch.autograd.grad(values, (angles, weights), upstream.to(values.dtype), allow_unused=True)
    return values.detach().numpy(), *(
        np.zeros(tuple(tensor.shape)) if gradient is None else gradient.numpy()
        for gradient, tensor in zip(gradients, (angles, weights), strict=True)
    )
