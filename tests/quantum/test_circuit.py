"""The circuit against the paper's figure, and what is read off its tape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pennylane as qml
import pytest

from pipeline.quantum.circuit import (
    Circuit,
    Gate,
    embedding_states,
    is_real,
    rotation_groups,
    variational_gates,
    z_signs,
)
from tests.circuits import MixedCircuit, RotCircuit


def cnots(circuit):
    return [gate.wires for gate in variational_gates(circuit) if gate.name == "CNOT"]


def test_a_layer_of_the_paper_entangles_first_even_then_odd_pairs_before_the_rotations():
    expected = [Gate("CNOT", (0, 1)), Gate("CNOT", (2, 3)), Gate("CNOT", (1, 2))]
    expected += [Gate("RY", (wire,), weight=wire) for wire in range(4)]
    assert variational_gates(Circuit(n_qubits=4, depth=1)) == tuple(expected)


def test_entanglers():
    assert cnots(Circuit(n_qubits=5, depth=1, entangler="chain")) == [(0, 1), (2, 3), (1, 2), (3, 4)]
    assert cnots(Circuit(n_qubits=4, depth=1, entangler="ring")) == [(0, 1), (2, 3), (1, 2), (3, 0)]
    assert cnots(Circuit(n_qubits=2, depth=1, entangler="ring")) == [(0, 1)]
    assert cnots(Circuit(n_qubits=4, depth=1, entangler="none")) == []


def test_all_problems_of_a_circuit_are_reported_at_once():
    with pytest.raises(ValueError, match=r"n_qubits is 0; .* depth is -1; .* entangler is 'star'; choose one of chain"):
        Circuit(n_qubits=0, depth=-1, entangler="star")


def test_gates_are_read_once():
    assert variational_gates(Circuit(depth=2)) is variational_gates(Circuit(depth=2))


def test_gates_that_are_not_known_are_decomposed():
    assert {gate.name for gate in variational_gates(RotCircuit(n_qubits=2, depth=1))} == {"RZ", "RY", "CNOT"}
    fixed = [gate for gate in variational_gates(MixedCircuit(n_qubits=2, depth=1)) if gate.angle is not None]
    assert [abs(gate.angle) for gate in fixed] == [0.15, 0.15]


def test_neighbouring_rotations_on_distinct_wires_make_a_group():
    groups = rotation_groups(variational_gates(Circuit(n_qubits=3, depth=2)))
    assert [(group.start, group.stop, len(group.rotations)) for group in groups] == [(2, 5, 3), (7, 10, 3)]
    unentangled = rotation_groups(variational_gates(Circuit(n_qubits=2, depth=2, entangler="none")))
    assert [(group.start, group.stop) for group in unentangled] == [(0, 2), (2, 4)]
    assert rotation_groups(variational_gates(Circuit(depth=0))) == []


@dataclass(frozen=True, kw_only=True)
class DoubledCircuit(Circuit):
    def variational_block(self, weights):
        for wire in range(self.n_qubits):
            qml.RY(2 * weights[wire], wires=wire)


def test_an_angle_that_is_no_weight_is_refused():
    with pytest.raises(ValueError, match=r"RY on wires \[0\] is a function of the weights; .* use simulator='qnode'"):
        variational_gates(DoubledCircuit(depth=1))


@dataclass(frozen=True, kw_only=True)
class EntangledEmbedding(Circuit):
    def embedding(self, inputs):
        qml.RY(inputs[..., 0], wires=0)
        qml.CNOT(wires=[0, 1])


@dataclass(frozen=True, kw_only=True)
class TwiceEmbedded(Circuit):
    def embedding(self, inputs):
        for wire in range(self.n_qubits):
            qml.RY(2 * inputs[..., wire], wires=wire)


def test_other_embeddings_are_refused():
    with pytest.raises(ValueError, match=r"CNOT on wires \[0, 1\]; single-wire gates only"):
        embedding_states(EntangledEmbedding())
    with pytest.raises(ValueError, match="must rotate each wire once by its input"):
        embedding_states(TwiceEmbedded())


def test_embedding_states_are_those_of_the_paper():
    states = embedding_states(Circuit(n_qubits=2))
    assert states.dtype == np.float64
    np.testing.assert_allclose(states, np.tile([[[1, 1], [-1, 1]]] / np.sqrt(2), (2, 1, 1)), atol=1e-15)


def test_real_circuits():
    assert is_real(Circuit())
    assert not is_real(MixedCircuit())
    assert not is_real(RotCircuit())


def test_z_signs():
    np.testing.assert_array_equal(z_signs(2), [[1, 1, -1, -1], [1, -1, 1, -1]])
