"""QNodes in pickles, alone in a layer and in a head."""

from __future__ import annotations

import copy
import pickle

import pennylane as qml
import pytest
import torch

from pipeline import DressedQuantumNet, TorchLayer

SHAPES = {"weights": (2, 3)}


def function(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3))
    qml.BasicEntanglerLayers(weights, wires=range(3))
    return [qml.expval(qml.Z(wire)) for wire in range(3)]


@qml.qnode(qml.device("lightning.qubit", wires=3), diff_method="adjoint")
def decorated(inputs, weights):
    return function(inputs, weights)


QNODES = {
    "decorated": decorated,
    "on lightning": qml.QNode(function, qml.device("lightning.qubit", wires=3), diff_method="parameter-shift"),
    "on default": qml.QNode(function, qml.device("default.qubit", wires=3)),
}


@pytest.mark.parametrize("simulator", ["lightning", "qnode"])
@pytest.mark.parametrize("name", QNODES)
def test_a_head_of_a_qnode_is_copied_and_pickled(name, simulator):
    head = DressedQuantumNet(6, 2, n_qubits=3, circuit=QNODES[name], weight_shapes=SHAPES, simulator=simulator)
    features = torch.randn(4, 6)
    expected = head(features)
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        torch.testing.assert_close(other(features), expected)
        assert other.circuit.qnode.device.name == QNODES[name].device.name
        assert other.circuit.qnode.diff_method == QNODES[name].diff_method


@pytest.mark.parametrize("name", QNODES)
def test_a_layer_of_a_qnode_is_pickled(name):
    layer = TorchLayer(QNODES[name], SHAPES)
    inputs = torch.randn(4, 3)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(inputs), layer(inputs))


def test_a_qnode_of_no_module_is_refused():
    @qml.qnode(qml.device("default.qubit", wires=3))
    def local(inputs, weights):
        return function(inputs, weights)

    with pytest.raises(pickle.PicklingError, match=r"the QNode .*local can't be pickled, .*: define it there, or save"):
        pickle.dumps(TorchLayer(local, SHAPES))


def test_a_qnode_with_shots_on_lightning_is_refused():
    with_shots = qml.set_shots(QNODES["on lightning"], 100)
    with pytest.raises(pickle.PicklingError, match="because it has transforms or shots"):
        pickle.dumps(TorchLayer(with_shots, SHAPES))
