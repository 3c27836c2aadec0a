"""pipeline.heads.controls.ablations: parts of a trained circuit are taken away, and nothing is trained again."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.heads.controls.ablations import Ablations, Unentangled, _affine, _unentangled_values, ablations
from pipeline.heads.controls.baselines import ClassicalNet
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.util.paired import paired_difference95

N = 60


def head_of(circuit=None, n_classes=2, **options):
    torch.manual_seed(3)
    return DressedQuantumNet(6, n_classes, n_qubits=3, depth=2, q_delta=1.5, circuit=circuit, **options)


def rows(head, n=N):
    """Features, and labels that the head has right in nine of ten."""
    features = 3 * torch.randn(n, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        # An even number in each class.
        logits = head(features)
        head.post_net.bias -= logits.median(dim=0).values
        labels = head(features).argmax(dim=1)
    labels[::10] = 1 - labels[::10]
    return features, labels


def parts_of(found):
    return {part.name: part for part in found.parts}


def test_each_part_by_hand():
    head = head_of()
    features, labels = rows(head)
    found = ablations(head, features, labels, seed=5, permutations=300)
    assert (found.images, found.accuracy, found.permutations, found.seed) == (N, 0.9, 300, 5)
    parts = parts_of(found)
    with torch.no_grad():
        angles = head.angles(features)
        values = head.expectation_values(angles)
        constant = head.post_net(values.mean(dim=0)).argmax()
        share = (labels == constant).double().mean().item()
        guesses = head(features).argmax(dim=1)
        plain = head_of(entangler="none")
        plain.load_state_dict(head.state_dict())
        right = (plain(features).argmax(dim=1) == labels).numpy()
    assert parts["mean"].accuracy == pytest.approx(share)
    # Of a random order: the chance that an image's answer is the label of another.
    chance = sum((guesses == k).double().mean() * (labels == k).double().mean() for k in (0, 1)).item()
    assert parts["shuffled"].accuracy == pytest.approx(chance, abs=0.01)
    assert parts["unentangled"].accuracy == right.mean()
    assert parts["unentangled"].cost == pytest.approx(0.9 - right.mean())
    assert parts["unentangled"].cost95 == paired_difference95(guesses.numpy() == labels.numpy(), right)
    assert all(part.cost95[0] < part.cost < part.cost95[1] for part in parts.values())
    assert ablations(head, features, labels, seed=5, permutations=300) == found


def test_a_circuit_that_is_nearly_linear_costs_nothing_as_a_linear_map():
    head = head_of(entangler="none")
    with torch.no_grad():
        head.q_params.zero_()
        head.pre_net.weight *= 0.1
    features, labels = rows(head)
    with torch.no_grad():
        # ⟨Z⟩ = -sin x, and x is small.
        angles = head.angles(features)
        torch.testing.assert_close(head.expectation_values(angles), -torch.sin(angles))
    assert parts_of(ablations(head, features, labels))["affine"].cost == 0


def test_an_affine_map_has_not_seen_the_image_that_it_answers_for():
    head = head_of()
    features, _ = rows(head, 20)
    with torch.no_grad():
        inputs = head.angles(features)
        values = head.expectation_values(inputs)
    ones = torch.ones(20, 1)
    for row in (0, 7, 19):
        others = [k for k in range(20) if k != row]
        fit = torch.linalg.lstsq(torch.cat([inputs, ones], 1)[others].double(), values[others].double()).solution
        expected = torch.cat([inputs[row], ones[0]]).double() @ fit
        torch.testing.assert_close(_affine(inputs, values)[row].double(), expected, atol=1e-6, rtol=1e-6)


def test_an_affine_map_of_more_inputs_than_images_is_not_judged():
    """It would fit any circuit, so that the circuit would seem to do nothing that a linear layer could not."""
    torch.manual_seed(0)
    head = DressedQuantumNet(16, 2, n_qubits=4, circuit="amplitude")
    features = torch.rand(17, 16)
    part = parts_of(ablations(head, features, torch.arange(17) % 2))["affine"]
    assert (part.accuracy, part.cost) == (None, None)
    assert part.not_run == "17 images are too few to tell a circuit of 16 inputs from a map"


@pytest.mark.parametrize(
    ("circuit", "left_out"),
    [("mari", 4), ("strongly-entangling", 6), ("iqp", 3 + 6), ("reuploading", 6), ("simplified-two-design", 4)],
)
def test_gates_on_several_wires_of_any_circuit_are_left_out(circuit, left_out):
    head = head_of(circuit)
    function = Unentangled(head.circuit)
    tape = qml.tape.make_qscript(function)(torch.ones(3), head.q_params.detach())
    assert function.left_out == left_out
    assert all(len(operation.wires) == 1 for operation in tape.operations)
    assert len(tape.measurements) == 3
    features, labels = rows(head, 20)
    part = parts_of(ablations(head, features, labels))["unentangled"]
    assert part.not_run is None
    assert part.accuracy is not None


def test_on_single_wires_what_is_left_is_what_pennylane_computes():
    head = head_of("iqp")
    angles = torch.rand(4, 3)

    @qml.qnode(qml.device("default.qubit"))
    def by_hand(x):
        for wire in range(3):
            qml.Hadamard(wire)
            qml.RZ(x[wire], wire)
        for layer in head.q_params.detach().double().reshape(2, 3, 3):
            for wire in range(3):
                qml.Rot(*layer[wire], wires=wire)
        return [qml.expval(qml.Z(wire)) for wire in range(3)]

    with torch.no_grad():
        found = _unentangled_values(head, angles).numpy()
    np.testing.assert_allclose(found, [np.stack(by_hand(x)) for x in angles.double()], atol=1e-6)


def test_what_has_no_such_part():
    head = head_of("separable")
    features, labels = rows(head)
    part = parts_of(ablations(head, features, labels))["unentangled"]
    assert part.accuracy is part.cost is part.cost95 is None
    assert part.not_run == "none of its gates is on several wires"
    assert ablations(ClassicalNet(6, 2), features, labels) == "the head has no circuit between two layers"


def test_amplitudes_stay():
    head = head_of("amplitude")
    features, labels = rows(head)
    assert parts_of(ablations(head, features, labels))["unentangled"].cost is not None


def measuring(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2))
    outcome = qml.measure(0)
    qml.cond(outcome, qml.RX)(weights, wires=1)
    qml.CNOT([0, 1])
    return qml.probs(wires=1)


def test_a_circuit_that_runs_as_an_ordinary_qnode(monkeypatch):
    torch.manual_seed(0)
    head = DressedQuantumNet(6, 2, n_qubits=2, circuit=measuring, weight_shapes={"weights": 1}, simulator="qnode")
    features, labels = torch.randn(8, 6), torch.arange(8) % 2
    found = ablations(head, features, labels)
    assert isinstance(found, Ablations)
    assert parts_of(found)["mean"].accuracy == 0.5
    unentangled = parts_of(found)["unentangled"]
    assert (unentangled.accuracy is None) == (unentangled.not_run is not None)
    monkeypatch.setattr("pipeline.heads.controls.ablations.BY_QNODE", 7)
    assert ablations(head, features, labels) == (
        "the circuit runs as an ordinary QNode, which takes too long for more than 7 images"
    )
