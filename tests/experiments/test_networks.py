import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn

from pipeline.experiments.paper.fit import accuracy, fit
from pipeline.experiments.paper.networks import ClassicalControl, StateClassifier, unitaries
from pipeline.experiments.paper.states.tetrominoes import noisy_states
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.circuit import Circuit
from pipeline.training.samples import Samples

CIRCUIT = Circuit(n_qubits=4, depth=3)


def states_and_labels(n_networks=1, n_each=2):
    drawn = [noisy_states(n_each, 0.5, np.random.default_rng(seed)) for seed in range(n_networks)]
    states = torch.from_numpy(np.stack([states for states, _ in drawn]))
    return states, torch.from_numpy(np.stack([labels for _, labels in drawn]))


def by_qnode(states, blocks):
    """⟨Z⟩ of four wires by an ordinary QNode that prepares each state and runs the circuits one after the other."""

    @qml.qnode(qml.device("default.qubit", wires=4), interface="torch", diff_method="backprop")
    def values(state):
        qml.StatePrep(state, wires=range(4), normalize=True)
        for circuit, weights in blocks:
            circuit.variational_block(weights)
        return [qml.expval(qml.PauliZ(wire)) for wire in range(4)]

    return torch.stack([torch.stack(list(values(state))) for state in states])


def test_unitaries_are_pennylanes_matrix():
    weights = torch.randn(2, CIRCUIT.n_weights)
    for ours, of_one in zip(unitaries(CIRCUIT, weights), weights, strict=True):
        theirs = qml.matrix(CIRCUIT.variational_block, wire_order=range(4))(of_one.double().numpy())
        assert np.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("with_frozen", [False, True])
def test_state_classifiers_are_an_ordinary_qnode_and_a_linear_layer(with_frozen):
    states, labels = states_and_labels()
    before = Circuit(n_qubits=4, depth=2)
    frozen = torch.randn(1, before.n_weights)
    network = stack([StateClassifier(3, CIRCUIT, 7, frozen=unitaries(before, frozen)[0] if with_frozen else None)])
    loss, logits = network.backward_cross_entropy(states, labels)

    weights = network.head.q_params.detach()[0].double().requires_grad_()
    blocks = [(before, frozen[0].double())] * with_frozen + [(CIRCUIT, weights)]
    matrix = network.head.readout.detach()[0].double()
    theirs = by_qnode(states[0].double(), blocks) @ matrix[:, :-1].T + matrix[:, -1]
    assert torch.allclose(logits[0].double(), theirs, atol=1e-5)
    their_loss = nn.functional.cross_entropy(theirs, labels[0])
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert torch.allclose(
        network.head.q_params.grad[0].double(), torch.autograd.grad(their_loss, weights)[0], atol=1e-5
    )


def test_classical_controls_are_three_layers():
    network = ClassicalControl(3, width=5)
    points = torch.randn(6, 2)
    layers = [nn.Linear(2, 5), nn.Linear(5, 5), nn.Linear(5, 2)]
    for layer, matrix in zip(layers, (network.first, network.second, network.third), strict=True):
        layer.weight.data, layer.bias.data = matrix.data[:, :-1], matrix.data[:, -1]
    theirs = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])(points)
    assert torch.allclose(network(points), theirs, atol=1e-6)
    assert sum(p.numel() for p in network.parameters()) == 57


def test_initial_weights_are_torchs_or_as_narrow_as_asked():
    ordinary = torch.stack([ClassicalControl(seed).second.detach() for seed in range(200)])
    narrow = torch.stack([ClassicalControl(seed, spread=0.001).second.detach() for seed in range(200)])
    assert ordinary.abs().max() <= 5**-0.5
    assert ordinary.std().item() == pytest.approx(5**-0.5 / 3**0.5, rel=0.05)
    assert narrow.std().item() == pytest.approx(0.001, rel=0.05)


def together(kind, seeds):
    if kind == "dressed":
        heads = []
        for seed in seeds:
            torch.manual_seed(seed)
            heads.append(DressedQuantumNet(16, 7, 3, 2, simulator="dense"))
        return stack(heads)
    return stack([StateClassifier(seed, CIRCUIT, 7) for seed in seeds])


@pytest.mark.parametrize("kind", ["dressed", "states"])
def test_networks_train_side_by_side_as_they_do_alone(kind):
    states, labels = states_and_labels(n_networks=3, n_each=4)
    settings = {"lr": 0.05, "batch": 7, "steps": 9, "every": 4}
    samples = Samples(features=states, labels=labels)
    networks = together(kind, [5, 6, 7])
    curve = fit(networks, samples, samples, seeds=[5, 6, 7], **settings)
    assert curve.steps == [4, 8, 9]
    for index, seed in enumerate((5, 6, 7)):
        one = Samples(features=states[index : index + 1], labels=labels[index : index + 1])
        alone = together(kind, [seed])
        of_one = fit(alone, one, one, seeds=[seed], **settings)
        for ours, theirs in zip(networks.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(ours[index], theirs[0], atol=1e-4)
        assert [row[index] for row in curve.accuracies] == pytest.approx(
            [row[0] for row in of_one.accuracies], abs=0.04
        )
    assert curve.last == accuracy(networks, samples)


def test_every_sample_is_seen_once_a_pass():
    seen = []

    class Watcher(StackedHeads):
        def backward_cross_entropy(self, features, labels):
            seen.append(features[0, :, 0])
            return super().backward_cross_entropy(features, labels)

    states, labels = states_and_labels(n_each=4)
    samples = Samples(features=states, labels=labels)
    fit(Watcher([StateClassifier(0, CIRCUIT, 7)]), samples, samples, seeds=[0], lr=0.01, batch=7, steps=8, every=8)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert torch.equal(first.sort().values, states[0, :, 0].sort().values)
    assert torch.equal(second.sort().values, first.sort().values)
    assert not torch.equal(first, second)
