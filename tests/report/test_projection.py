import math

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.heads.controls.baselines import ClassicalNet, LinearNet, LogisticNet, MlpNet
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.report.projection import inner_values, project, separation


def probabilities(inputs, w):
    """A circuit whose outputs are no ⟨Z⟩ of its wires."""
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.RX(w[0], wires=0)
    return qml.probs(wires=range(2))


def test_points_on_a_line():
    along = np.array([-2.0, 0.0, 2.0])
    found = project(np.stack([1 + 0.6 * along, -0.8 * along, 0 * along], axis=1), np.zeros(3))
    assert found.mean == pytest.approx([1, 0, 0])
    # Of the two directions, the one whose largest entry is positive.
    assert found.components[0] == pytest.approx([-0.6, 0.8, 0])
    assert found.share == pytest.approx([1, 0])
    assert found.points[:, 0] == pytest.approx([2, 0, -2])


def test_a_known_share():
    # Variances 9 and 4 along two axes.
    found = project(np.array([[3.0, 0], [-3, 0], [0, 2], [0, -2]]), np.zeros(4))
    assert found.share == pytest.approx([9 / 13, 4 / 13])
    assert found.components == pytest.approx(np.eye(2))


@given(st.integers(0, 100), st.integers(2, 6), st.integers(3, 30))
def test_it_is_the_singular_value_decomposition(seed, n, rows):
    values = np.random.default_rng(seed).normal(size=(rows, n))
    found = project(values, np.zeros(rows))
    _, spread, directions = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert found.share == pytest.approx(spread[:2] ** 2 / (spread**2).sum())
    assert np.abs(found.components) == pytest.approx(np.abs(directions[:2]))
    assert found.components @ found.components.T == pytest.approx(np.eye(2))
    assert found.points == pytest.approx((values - found.mean) @ found.components.T)
    for direction in found.components:
        assert direction[np.abs(direction).argmax()] > 0


def test_one_dimension_one_image_and_no_variance():
    assert project(np.array([[1.0], [3.0]]), np.zeros(2)).points == pytest.approx(np.array([[-1.0], [1.0]]))
    alone = project(np.array([[1.0, 2.0, 3.0]]), np.zeros(1))
    assert alone.share.tolist() == [0.0]
    assert alone.points.tolist() == [[0.0]]
    assert project(np.ones((5, 4)), np.zeros(5)).share.tolist() == [0.0, 0.0]


def test_separation_is_the_variance_between_the_classes():
    labels = np.array([0, 0, 1, 1])
    assert separation(np.array([[1.0], [1.0], [5.0], [5.0]]), labels) == 1
    assert separation(np.array([[1.0], [5.0], [1.0], [5.0]]), labels) == 0
    # Means ±2, and ±1 around each: 4 / (4 + 1).
    assert separation(np.array([[-3.0], [-1.0], [1.0], [3.0]]), labels) == pytest.approx(0.8)
    assert separation(np.ones((4, 2)), labels) == 0


def test_what_a_quantum_head_holds_inside():
    torch.manual_seed(0)
    head = DressedQuantumNet(n_features=5, n_qubits=3, depth=0)
    features = torch.randn(7, 5)
    found = inner_values(head, features.numpy())
    assert list(found) == ["tanh", "⟨Z⟩"]
    with torch.no_grad():
        tanh = torch.tanh(head.pre_net(features)).numpy()
        logits = head(features)
        assert torch.allclose(head.post_net(torch.from_numpy(found["⟨Z⟩"])), logits, atol=1e-6)
    assert found["tanh"] == pytest.approx(tanh, abs=1e-6)
    # H, then RY(x), then ⟨Z⟩: the closed form is -sin x.
    assert found["⟨Z⟩"] == pytest.approx(-np.sin(tanh * math.pi / 2), abs=1e-6)


def test_outputs_that_are_no_expectation_values_are_not_called_so():
    head = DressedQuantumNet(5, 2, circuit=probabilities, weight_shapes={"w": (1,)}, n_qubits=2)
    found = inner_values(head, np.ones((7, 5), np.float32))
    assert list(found) == ["tanh", "outputs"]
    assert found["outputs"].sum(axis=1) == pytest.approx(np.ones(7), abs=1e-6)


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (ClassicalNet(5, 2, 3), ["tanh"]),
        (MlpNet(5, 2, 3, 2), ["tanh"]),
        (LinearNet(5, 2), []),
        (LogisticNet(5, 2), []),
    ],
)
def test_what_the_controls_hold_inside(head, names):
    features = torch.randn(7, 5)
    found = inner_values(head, features.numpy())
    assert list(found) == names
    for values in found.values():
        assert values == pytest.approx(torch.tanh(head.pre_net(features)).detach().numpy())


def test_the_record_is_plain():
    features = np.random.default_rng(0).normal(size=(6, 5)).astype("f4")
    record = project(inner_values(ClassicalNet(5, 2, 4), features)["tanh"], np.arange(6) % 2).record()
    assert {name: np.shape(value) for name, value in record.items()} == {
        "mean": (4,),
        "components": (2, 4),
        "share": (2,),
        "separation": (),
    }
    assert isinstance(record["components"], list)
