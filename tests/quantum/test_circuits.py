"""The paper's circuit against its figure. Circuits by name: each against its QNode; as a head stacked, exported,
copied, called functionally, and first seen in inference mode."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
import torch

from features.util.flags import FlagError
from pipeline import DressedQuantumNet
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.circuits import CIRCUITS
from pipeline.quantum.matrices import z_signs
from pipeline.training.config import TrainConfig
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


def make(name, simulator="lightning", seed=0):
    torch.manual_seed(seed)
    return DressedQuantumNet(7, 3, 3, 2, q_delta=1.0, circuit=name, simulator=simulator)


def rows(n=5):
    return torch.randn(n, 7, generator=torch.Generator().manual_seed(1))


def test_the_command_line_knows_every_circuit():
    assert [TrainConfig(circuit=name).circuit for name in CIRCUITS] == list(CIRCUITS)
    names = ", ".join(CIRCUITS)
    with pytest.raises(FlagError, match=f"choose one of {names}, or my_circuit.py:name .did you mean iqp"):
        TrainConfig(circuit="iqps")


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_circuit_gives_its_qnodes_values_and_gradients(name):
    results = []
    for simulator in ("lightning", "dense", "qnode"):
        head = make(name, simulator).double()
        assert head.simulator == simulator
        features = rows().double().requires_grad_()
        logits = head(features)
        logits.square().sum().backward()
        results.append([logits.detach(), features.grad, *(p.grad for p in head.parameters())])
    for found in results[:2]:
        for own, theirs in zip(found, results[2], strict=True):
            torch.testing.assert_close(own, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CIRCUITS)
def test_heads_of_a_circuit_copy_stack_and_export(name):
    heads, features, labels = [make(name, seed=seed) for seed in (0, 1)], rows(), torch.tensor([0, 1, 2, 0, 1])
    head = heads[0]
    with torch.no_grad():
        expected = head(features)
        called = torch.func.functional_call(head, dict(head.named_parameters()), (features,))
        others = [copy.deepcopy(head)(features), pickle.loads(pickle.dumps(head))(features), called]
        for other in [*others, head.for_export()(features), stack(heads)(features)[0]]:
            torch.testing.assert_close(other, expected, rtol=0, atol=1e-5)
    together = stack(heads)
    together.backward_cross_entropy(features, labels.expand(2, -1))
    for index, one in enumerate(heads):
        one.backward_cross_entropy(features, labels)
        for name_, parameter in one.named_parameters():
            found = together.head.get_parameter(name_).grad[index]
            torch.testing.assert_close(found, parameter.grad, rtol=0, atol=1e-5)


def test_512_features_are_nine_qubits_without_a_layer_in_front():
    head = DressedQuantumNet(circuit="amplitude", depth=1)
    assert head.circuit.n_qubits == 9
    assert [name for name, _ in head.named_parameters()] == ["q_params", "post_net.weight", "post_net.bias"]
    assert head(torch.randn(2, 512)).shape == (2, 2)


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("n_qubits", [3, 5])
def test_inference_mode_before_training(simulator, n_qubits):
    # Of sizes that no other test has: the first call makes tables for later ones.
    head, features = DressedQuantumNet(7, 2, n_qubits, 7, q_delta=1.0, simulator=simulator), rows()
    with torch.inference_mode():
        seen = head(features)
    logits = head(features)
    torch.testing.assert_close(logits.detach(), seen)
    logits.sum().backward()


def test_autocast_of_the_dense_form_keeps_weights_in_their_precision():
    head, angles = DressedQuantumNet(7, 2, 3, 2, q_delta=1.0, simulator="dense"), rows()[:, :3]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = head.expectation_values(angles.bfloat16())
    torch.testing.assert_close(rounded, head.expectation_values(angles.bfloat16().float()).bfloat16())
