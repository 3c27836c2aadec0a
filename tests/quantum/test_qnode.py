"""What runs as an ordinary QNode: with PennyLane's values, and one warning that says why."""

from __future__ import annotations

import re

import pennylane as qml
import pytest
import torch

from pipeline import TorchLayer


def layers(qnode, shapes):
    """PennyLane's layer and ours, of float64, with the same weights."""
    torch.manual_seed(2)
    theirs, ours = qml.qnn.TorchLayer(qnode, shapes).double(), TorchLayer(qnode, shapes).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def batch():
    return torch.randn(4, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def plain(inputs, weights):
    qml.RY(inputs[..., 0] * weights[0], wires=0)
    return qml.expval(qml.Z(0))


def noisy(inputs, weights):
    qml.RY(inputs[..., 0] * weights[0], wires=0)
    qml.DepolarizingChannel(0.1, wires=0)
    return qml.expval(qml.Z(0))


def branching(inputs, weights):
    qml.RY(inputs[..., 0], wires=0)
    if weights[0] > 0.5:
        qml.RX(weights[0], wires=0)
    return qml.expval(qml.Z(0))


ELSEWHERE = torch.tensor([0.5], requires_grad=True)


def with_a_closure(inputs, weights):
    qml.RX(ELSEWHERE[0] * inputs[..., 0] + weights[0], wires=0)
    return qml.expval(qml.Z(0))


@pytest.mark.parametrize(
    ("function", "device", "reason"),
    [
        (noisy, "default.mixed", "DepolarizingChannel"),
        (branching, "default.qubit", "value of a tensor"),
        (with_a_closure, "default.qubit", r"of shape \(1,\) .* neither inputs nor a weight: name it in weight_shapes"),
    ],
)
def test_what_does_not_run_fast_runs_as_the_qnode_with_one_warning(function, device, reason):
    theirs, ours = layers(qml.QNode(function, qml.device(device, wires=1)), {"weights": (1,)})
    x = batch()
    with pytest.warns(RuntimeWarning, match=reason) as caught:
        values = torch.stack([ours(x), ours(x)])
    assert len(caught) == 1
    assert re.search(reason, ours.fallback_reason)
    torch.testing.assert_close(values, torch.stack([theirs(x)] * 2), rtol=0, atol=1e-12)


def test_transforms_that_change_values_run_as_the_qnode():
    qnode = qml.QNode(plain, qml.device("default.mixed", wires=1))
    theirs, ours = layers(qml.noise.insert(qnode, qml.BitFlip, 0.2, position="end"), {"weights": (1,)})
    with pytest.warns(RuntimeWarning, match="its values differ by"):
        values = ours(batch())
    torch.testing.assert_close(values, theirs(batch()))


def test_a_qnode_that_raises_does_so_with_pennylanes_words():
    qnode = qml.noise.insert(qml.QNode(plain, qml.device("default.qubit", wires=1)), qml.BitFlip, 0.2, position="end")
    _, ours = layers(qnode, {"weights": (1,)})
    reason = "comparing it with its QNode raised DeviceError"
    with pytest.warns(RuntimeWarning, match=reason), pytest.raises(Exception, match=r"BitFlip.* not supported"):
        ours(batch())
    assert reason in ours.fallback_reason


def test_finite_shots_run_as_the_qnode():
    qnode = qml.set_shots(qml.QNode(plain, qml.device("default.qubit", wires=1, seed=3)), 50)
    with pytest.warns(RuntimeWarning, match="shots"):
        TorchLayer(qnode, {"weights": (1,)})(torch.ones(2, 1))
