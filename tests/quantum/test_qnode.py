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


def with_other_samples(inputs, weights):
    qml.RX((inputs[..., 0] - inputs[..., 0].mean()) * weights[0], wires=0)
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
        (
            with_other_samples,
            "default.qubit",
            "values differ by .* from its QNode's, .* samples that depend on each other",
        ),
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


SCALE = 1.0


class Settings:
    def __init__(self):
        self.scale = 1.0
        self.calls = 0

    def circuit(self, inputs, weights):
        self.calls += 1
        qml.RY(self.scale * inputs[..., 0] * weights[0], wires=0)
        return qml.expval(qml.Z(0))


def scaled(angle):
    return SCALE * angle


def reading_a_global():
    def change():
        global SCALE
        SCALE = 2.0

    def circuit(inputs, weights):
        qml.RY(scaled(inputs[..., 0]) * weights[0], wires=0)
        return qml.expval(qml.Z(0))

    return circuit, change, "SCALE, which it reads, has changed since its first call, from 1.0 to 2.0"


def reading_a_closure():
    scale = 1.0

    def change():
        nonlocal scale
        scale = 2.0

    def circuit(inputs, weights):
        qml.RY(scale * inputs[..., 0] * weights[0], wires=0)
        return qml.expval(qml.Z(0))

    return circuit, change, "scale, which it reads, has changed since its first call, from 1.0 to 2.0"


def reading_a_list():
    scales = [1.0]

    def circuit(inputs, weights):
        qml.RY(scales[0] * inputs[..., 0] * weights[0], wires=0)
        return qml.expval(qml.Z(0))

    return circuit, lambda: scales.append(scales.pop() + 1), "scales, which it reads, has changed"


def reading_an_attribute():
    settings = Settings()

    def circuit(inputs, weights):
        qml.RY(settings.scale * inputs[..., 0] * weights[0], wires=0)
        return qml.expval(qml.Z(0))

    return circuit, lambda: setattr(settings, "scale", 2.0), "settings.scale, which it reads, has changed"


def reading_a_buffer():
    module = torch.nn.Module()
    module.register_buffer("scale", torch.ones(()))

    def circuit(inputs, weights):
        qml.RY(module.scale * inputs[..., 0] * weights[0], wires=0)
        return qml.expval(qml.Z(0))

    return circuit, lambda: module.scale.add_(1), "module.scale, which it reads, has changed"


@pytest.mark.parametrize(
    "make", [reading_a_global, reading_a_closure, reading_a_list, reading_an_attribute, reading_a_buffer]
)
def test_a_circuit_is_an_ordinary_qnode_once_a_value_that_it_reads_has_changed(make, monkeypatch):
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    circuit, change, why = make()
    theirs, ours = layers(qml.QNode(circuit, qml.device("default.qubit", wires=1)), {"weights": (1,)})
    x = batch()
    before = ours(x)
    torch.testing.assert_close(ours(x), before, rtol=0, atol=0)
    assert ours.fallback_reason is None
    change()
    with pytest.warns(RuntimeWarning, match=re.escape(why)):
        after = ours(x)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, theirs(x))
    torch.testing.assert_close(ours(x), after, rtol=0, atol=0)


def test_a_method_that_counts_its_calls_stays_fast():
    settings = Settings()
    _, ours = layers(qml.QNode(settings.circuit, qml.device("default.qubit", wires=1)), {"weights": (1,)})
    for _ in range(3):
        ours(batch())
    assert ours.fallback_reason is None
    settings.scale = 2.0
    with pytest.warns(RuntimeWarning, match=r"self\.scale, which it reads, has changed"):
        ours(batch())
