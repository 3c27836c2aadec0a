"""The circuit against the paper's figure, and how our simulators read it."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.quantum.circuit import Circuit
from pipeline.quantum.matrices import z_signs
from tests.circuits import MixedCircuit, RotCircuit, engine_of


def gates(circuit):
    """Names and wires behind the embedding."""
    with qml.queuing.AnnotatedQueue() as queued:
        circuit.variational_block(torch.zeros(circuit.n_weights))
    operations = qml.tape.QuantumScript.from_queue(queued).operations
    return [(gate.name, tuple(gate.wires)) for gate in operations]


def cnots(circuit):
    return [wires for name, wires in gates(circuit) if name == "CNOT"]


def test_a_layer_of_the_paper_entangles_first_even_then_odd_pairs_before_the_rotations():
    expected = [("CNOT", (0, 1)), ("CNOT", (2, 3)), ("CNOT", (1, 2)), *(("RY", (wire,)) for wire in range(4))]
    assert gates(Circuit(n_qubits=4, depth=1)) == expected


def test_entanglers():
    assert cnots(Circuit(n_qubits=5, depth=1, entangler="chain")) == [(0, 1), (2, 3), (1, 2), (3, 4)]
    assert cnots(Circuit(n_qubits=4, depth=1, entangler="ring")) == [(0, 1), (2, 3), (1, 2), (3, 0)]
    assert cnots(Circuit(n_qubits=2, depth=1, entangler="ring")) == [(0, 1)]
    assert cnots(Circuit(n_qubits=4, depth=1, entangler="none")) == []


def test_all_problems_of_a_circuit_are_reported_at_once():
    with pytest.raises(ValueError, match=r"n_qubits is 0; .* depth is -1; .* entangler is 'star'; choose one of chain"):
        Circuit(n_qubits=0, depth=-1, entangler="star")


def test_real_circuits():
    assert engine_of(Circuit())._simulator.is_real
    assert engine_of(Circuit(entangler="none"))._simulator.is_real
    assert not engine_of(MixedCircuit())._simulator.is_real
    assert not engine_of(RotCircuit())._simulator.is_real


def test_z_signs():
    np.testing.assert_array_equal(z_signs(2), [[1, 1, -1, -1], [1, -1, 1, -1]])
