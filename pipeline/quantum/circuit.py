"""The variational circuit of the dressed quantum network, written once, in PennyLane.

In: one angle a wire and sample, and the trainable weights. Out: the expectation value of Z on every wire.
Every simulator reads its gates from here, so that changing this file changes all of them.

Source: A. Mari, T. R. Bromley, J. Izaac, M. Schuld, N. Killoran, "Transfer learning in hybrid
classical-quantum neural networks", Quantum 4, 340 (2020), arXiv:1912.08278, section 4 and figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pennylane as qml

from pipeline.quantum.choices import ENTANGLERS
from pipeline.quantum.matrices import z_signs

__all__ = [
    "COMPLEX_GATES",
    "REAL_GATES",
    "ROTATIONS",
    "Circuit",
    "Gate",
    "RotationGroup",
    "embedding_states",
    "is_real",
    "rotation_groups",
    "variational_gates",
    "z_signs",
]

ROTATIONS = ("RX", "RY", "RZ")
REAL_GATES = ("Hadamard", "PauliX", "PauliZ", "RY", "CNOT", "CZ", "SWAP", "Toffoli", "CSWAP")
COMPLEX_GATES = ("PauliY", "S", "T", "RX", "RZ", "CY")


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


@dataclass(frozen=True)
class Gate:
    """One gate of the variational block.

    Attributes:
        name: PennyLane's name of the gate, one of ``REAL_GATES`` and ``COMPLEX_GATES``.
        wires: The wires it acts on, control first.
        weight: Index of the trainable weight that is its angle; None for a gate without one.
        angle: Its fixed angle in radians; None for a gate without one.
    """

    name: str
    wires: tuple[int, ...]
    weight: int | None = None
    angle: float | None = None


@lru_cache(maxsize=64)
def variational_gates(circuit: Circuit) -> tuple[Gate, ...]:
    """The gates of ``circuit.variational_block``, read once off PennyLane's tape.

    Gates outside ``REAL_GATES`` and ``COMPLEX_GATES`` are replaced by PennyLane's decomposition.

    Raises:
        ValueError: If a gate has no such decomposition, or its angle is neither fixed nor exactly one of the weights.
    """
    # Two tapes with random weights show which angles are weights, and that nothing else depends on them.
    readings = [np.random.default_rng(seed).uniform(1, 3, circuit.n_weights) for seed in (0, 1)]
    tapes = [_queued(partial(circuit.variational_block, w)) for w in readings]
    gates = []
    for first, second in zip(*tapes, strict=True):
        weight = angle = None
        if first.parameters:
            angles = [float(first.parameters[0]), float(second.parameters[0])]
            places = [np.flatnonzero(w == a).tolist() for w, a in zip(readings, angles, strict=True)]
            if places[0] and places[0] == places[1] and first.name in ROTATIONS:
                weight = places[0][0]
            elif angles[0] == angles[1]:
                angle = angles[0]
            else:
                raise ValueError(
                    f"the angle of {first.name} on wires {first.wires.tolist()} is a function of the weights; "
                    f"only {', '.join(ROTATIONS)} by exactly one weight are supported: use simulator='qnode'"
                )
        gates.append(Gate(first.name, tuple(first.wires.tolist()), weight, angle))
    return tuple(gates)


@dataclass(frozen=True)
class RotationGroup:
    """Neighbouring trainable rotations on distinct wires: they commute.

    Attributes:
        start: Position of the first of them in the gate list.
        stop: Position behind the last.
        rotations: The rotations themselves.
    """

    start: int
    stop: int
    rotations: tuple[Gate, ...]


def rotation_groups(gates: tuple[Gate, ...]) -> list[RotationGroup]:
    """The trainable rotations of a gate list, grouped greedily: neighbours on distinct wires."""
    groups: list[RotationGroup] = []
    start = 0
    for position, gate in enumerate((*gates, None)):
        wires = {other.wires for other in gates[start:position]}
        if gate is None or gate.weight is None or gate.wires in wires:
            if position > start:
                groups.append(RotationGroup(start, position, gates[start:position]))
            start = position + (gate is None or gate.weight is None)
    return groups


def is_real(circuit: Circuit) -> bool:
    """Whether embedding and gates are real. Real and imaginary part of a state then evolve independently."""
    return not np.iscomplexobj(embedding_states(circuit)) and all(
        g.name in REAL_GATES for g in variational_gates(circuit)
    )


@lru_cache(maxsize=64)
def embedding_states(circuit: Circuit) -> np.ndarray:
    """The states of each wire after ``circuit.embedding`` at x = 0 and at x = π, of shape (n_qubits, 2, 2).

    One rotation by x on a wire gives cos(x/2) times the first plus sin(x/2) times the second state.
    Real (float64) where both are, complex128 otherwise.

    Raises:
        ValueError: If the embedding entangles wires, or does not depend on x as one rotation a wire does.
    """
    ends = []
    for x in (0.0, np.pi, 1.0):
        states = np.zeros((circuit.n_qubits, 2), dtype=complex)
        states[:, 0] = 1
        for gate in _queued(partial(circuit.embedding, np.full(circuit.n_qubits, x)), decompose=False):
            if len(gate.wires) > 1:
                raise ValueError(
                    f"the embedding has {gate.name} on wires {gate.wires.tolist()}; single-wire gates only"
                )
            states[gate.wires[0]] = qml.matrix(gate) @ states[gate.wires[0]]
        ends.append(states)
    if not np.allclose(ends[2], np.cos(0.5) * ends[0] + np.sin(0.5) * ends[1]):
        raise ValueError("the embedding must rotate each wire once by its input; use simulator='qnode' for others")
    states = np.stack(ends[:2], axis=1)
    return states if np.iscomplex(states).any() else states.real.copy()


def _queued(queue: Callable[[], None], decompose: bool = True) -> list[Any]:
    with qml.queuing.AnnotatedQueue() as queued:
        queue()
    gates = list(qml.tape.QuantumScript.from_queue(queued).operations)
    return [known for gate in gates for known in _decomposed(gate)] if decompose else gates


def _decomposed(gate: Any) -> list[Any]:
    if gate.name in REAL_GATES + COMPLEX_GATES:
        return [gate]
    if not gate.has_decomposition:
        raise ValueError(
            f"{gate.name} on wires {gate.wires.tolist()} is none of {', '.join(REAL_GATES + COMPLEX_GATES)} "
            "and PennyLane cannot decompose it: use simulator='qnode'"
        )
    return [known for part in gate.decomposition() for known in _decomposed(part)]
