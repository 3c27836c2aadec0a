import math

import numpy as np
import pennylane as qml
import pytest
import torch
from diagnosed import subject_of

from pipeline.diagnostics.gradients import GradientVariance, decays, gradient_variance
from pipeline.diagnostics.sampled import Sampled, generator
from pipeline.diagnostics.subject import subject_named


def one_rotation(inputs, weights):
    qml.RY(inputs[..., 0], wires=0)
    qml.RY(weights[0], wires=0)
    return qml.expval(qml.Z(0))


def test_of_a_single_rotation_it_is_a_half():
    # f = cos(x + θ), so that Var[-sin] over a full turn is 1/2.
    found = gradient_variance(subject_of(one_rotation, 1, 1), 1, 4000, 0).variance
    assert found.value == pytest.approx(1 / 2, abs=4 * found.error)
    # sin² has variance 1/8.
    assert found.error == pytest.approx(math.sqrt(1 / 8 / 4000), rel=0.1)


def all_z(inputs, weights):
    for wire in range(len(weights)):
        qml.RY(inputs[..., wire], wires=wire)
        qml.RY(weights[wire], wires=wire)
    return qml.expval(qml.prod(*(qml.Z(wire) for wire in range(len(weights)))))


def test_a_global_observable_of_rotations_has_a_plateau_of_a_half_a_qubit():
    # f = Π cos(x + θ): Var = (1/2)ⁿ, the textbook barren plateau (Cerezo et al., arXiv:2001.00550).
    found = [gradient_variance(subject_of(all_z, n, n), 1, 1000, 0) for n in (1, 2, 3, 4)]
    for each in found:
        assert each.variance.value == pytest.approx(0.5**each.qubits, abs=4 * each.variance.error)
    (decay,) = decays(found)
    assert decay.slope.value == pytest.approx(math.log(0.5), abs=4 * decay.slope.error)
    assert decay.factor == pytest.approx(math.exp(decay.slope.value))


def test_weights_without_influence_on_the_output_do_not_dilute_it():
    # Of separable wires the first output sees one: its variance is the same whatever the number of wires.
    found = [gradient_variance(subject_named("separable", n, 2, "chain"), 2, 500, 0) for n in (1, 3)]
    one, three = (each.variance for each in found)
    assert three.value == pytest.approx(one.value, abs=4 * math.hypot(one.error, three.error))


def test_a_circuit_without_weights_has_none():
    assert gradient_variance(subject_named("mari", 2, 0, "chain"), 0, 10, 0).variance is None


@pytest.mark.parametrize("circuit", ["mari", "strongly-entangling", "reuploading", "amplitude"])
def test_gradients_are_those_of_pennylane(circuit):
    subject = subject_named(circuit, 3, 2, "chain")
    random = generator(0)
    inputs, weights = subject.draw_inputs(random, 4), subject.draw_weights(random, 4)
    found = np.stack(list(subject.gradients(inputs, weights, np.eye(3))), axis=1)
    node = qml.QNode(subject.circuit, qml.device("default.qubit", wires=3), interface="torch", diff_method="backprop")
    for sample in range(4):
        x, w = torch.from_numpy(inputs[sample]), torch.from_numpy(weights[sample])
        expected = torch.autograd.functional.jacobian(lambda own, x=x: torch.stack(node(x, own)), w)
        np.testing.assert_allclose(found[sample], expected, atol=1e-9)


def test_the_slope_weighs_points_by_their_errors():
    def point(n, value, error):
        return GradientVariance(qubits=n, depth=3, variance=Sampled(value=value, error=error))

    sure = [point(n, 0.25**n, 0.01 * 0.25**n) for n in (2, 4, 6)]
    (decay,) = decays([*sure, point(8, 1.0, 1e4), GradientVariance(qubits=9, depth=3, variance=None)])
    assert decay.factor == pytest.approx(0.25, rel=1e-3)
    # Var(slope) = σ² / Σ (n - n̄)² of three points with σ = 0.01.
    assert decay.slope.error == pytest.approx(0.01 / math.sqrt(8), rel=1e-2)
    assert decays(sure[:1]) == []
