"""pipeline.heads.controls.surrogates: 3ⁿ classical features hold every circuit with one rotation a wire, exactly."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pennylane as qml
import pytest
import torch

from features.util.flags import FlagError
from pipeline.heads.base import QUARTER_TURN
from pipeline.heads.controls.surrogates import FourierNet, SurrogateNet, products
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.registry import new_head
from pipeline.training.config import TrainConfig


def interpolated(function, n_wires):
    """The weights (3ⁿ, n_outputs) of the products that give a function of angles: its values on a grid tell them."""
    grid = torch.tensor(list(product((0, 2 * math.pi / 3, 4 * math.pi / 3), repeat=n_wires)), dtype=torch.float64)
    return torch.linalg.solve(products(grid), function(grid))


def unitary(random, size):
    return np.linalg.qr(random.normal(size=(size, size)) + 1j * random.normal(size=(size, size)))[0]


@pytest.mark.parametrize("n_wires", [1, 2, 3, 4])
@pytest.mark.parametrize("rotation", ["X", "Y", "Z"])
def test_any_circuit_behind_the_rotations_is_linear_in_the_products(n_wires, rotation):
    random = np.random.default_rng(n_wires)
    before = [unitary(random, 2) for _ in range(n_wires)]
    behind, observable = unitary(random, 2**n_wires), unitary(random, 2**n_wires)
    observable = observable + observable.conj().T

    @qml.qnode(qml.device("default.qubit", wires=n_wires))
    def circuit(angles):
        for wire, matrix in enumerate(before):
            qml.QubitUnitary(matrix, wires=wire)
        qml.AngleEmbedding(angles, wires=range(n_wires), rotation=rotation)
        qml.QubitUnitary(behind, wires=range(n_wires))
        return qml.expval(qml.Hermitian(observable, wires=range(n_wires)))

    weights = interpolated(lambda angles: circuit(angles)[:, None], n_wires)
    angles = torch.from_numpy(random.uniform(-4, 4, (20, n_wires)))
    torch.testing.assert_close((products(angles) @ weights)[:, 0], circuit(angles), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "circuit", ["mari", "strongly-entangling", "basic-entangler", "simplified-two-design", "separable"]
)
def test_a_dressed_head_has_a_surrogate_with_the_same_logits(circuit):
    torch.manual_seed(0)
    head = DressedQuantumNet(6, 3, n_qubits=3, depth=2, q_delta=1.0, circuit=circuit).double()
    surrogate = SurrogateNet(6, 3, 3).double()
    with torch.no_grad():
        weights = interpolated(head.expectation_values, 3) @ head.post_net.weight.T
        surrogate.post_net.weight.copy_(weights.T)
        surrogate.post_net.bias.copy_(head.post_net.bias)
        surrogate.pre_net.load_state_dict(head.pre_net.state_dict())
        features = torch.randn(9, 6, dtype=torch.float64)
        found = products(head.angles(features)) @ interpolated(head.expectation_values, 3)
        torch.testing.assert_close(found, head.expectation_values(head.angles(features)), rtol=0, atol=1e-10)
        torch.testing.assert_close(surrogate(features), head(features), rtol=0, atol=1e-10)


def test_reuploading_is_more_than_that():
    torch.manual_seed(0)
    head = DressedQuantumNet(6, 3, n_qubits=2, depth=3, q_delta=1.0, circuit="reuploading").double()
    with torch.no_grad():
        weights = interpolated(head.expectation_values, 2)
        angles = torch.linspace(-1.5, 1.5, 14, dtype=torch.float64).reshape(7, 2)
        assert (products(angles) @ weights - head.expectation_values(angles)).abs().max() > 0.01


def test_the_products_are_in_order():
    x, y = 0.3, 1.1
    a, b = (1, math.cos(x), math.sin(x)), (1, math.cos(y), math.sin(y))
    expected = torch.tensor([p * q for p in a for q in b], dtype=torch.float64)
    torch.testing.assert_close(products(torch.tensor([[x, y]], dtype=torch.float64))[0], expected)


def test_the_cosines_are_drawn_once_and_stay():
    torch.manual_seed(1)
    head = FourierNet(5, 2, 3, 7)
    assert sum(p.numel() for p in head.parameters() if p.requires_grad) == 5 * 3 + 3 + 7 * 2 + 2
    features = torch.randn(4, 5)
    angles = torch.tanh(head.pre_net(features)) * QUARTER_TURN
    expected = head.post_net(torch.cos(angles @ head.cosines.weight.T + head.cosines.bias))
    torch.testing.assert_close(head(features), expected)


def test_too_many_wires_are_refused():
    with pytest.raises(FlagError, match=r"--qubits is 9; --head surrogate has 3\^qubits features: at most 8"):
        new_head(TrainConfig(head="surrogate", qubits=9), 512, 2)
    with pytest.raises(ValueError, match=r"n_hidden is 9; with 3\^n_hidden features it must be 8 or less"):
        SurrogateNet(512, 2, 9)
