"""pipeline.quantum.program: a trace of PennyLane's gates is what PennyLane makes of them, and so is its recording."""

from __future__ import annotations

from itertools import product

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.quantum.matrices import apply_matrix
from pipeline.quantum.program.recording import Recorded
from pipeline.quantum.program.tape import MAX_CONTROLS, trace

TARGET, CONTROLS = 2, (0, 1, 3)


def controlled(base, angles, control_values):
    gate = getattr(qml, base)(*angles, wires=TARGET)
    return qml.ctrl(gate, control=CONTROLS[: len(control_values)], control_values=control_values)


@pytest.mark.parametrize("base", ["RX", "RY", "RZ", "Rot", "PhaseShift", "U1"])
@pytest.mark.parametrize("n_controls", range(2, MAX_CONTROLS + 1))
def test_controlled_rotations_are_rotations_about_words(base, n_controls):
    n_angles, n_samples = 3 if base == "Rot" else 1, 2
    angles = torch.linspace(-2, 2, n_angles * n_samples, dtype=torch.float64).reshape(n_angles, -1).requires_grad_()
    for values in product([0, 1], repeat=n_controls):

        def circuit(inputs, values=values):
            controlled(base, inputs, values)
            return qml.expval(qml.Z(0))

        traced = trace(circuit, angles, {}, range(4))
        assert {gate.name for gate in traced.gates} == {"rotation"}
        for sample in range(n_samples):
            matrix = np.eye(16, dtype=complex)
            for gate, parameter in zip(traced.gates, traced.parameters, strict=True):
                rotation = qml.PauliRot(parameter[sample].item(), gate.word, wires=range(len(gate.wires)))
                matrix = apply_matrix(qml.matrix(rotation), gate.wires, matrix)
            expected = qml.matrix(controlled(base, angles[:, sample].tolist(), values), wire_order=range(4))
            phase = np.vdot(expected, matrix) / 16
            np.testing.assert_allclose(abs(phase), 1, atol=1e-12)
            np.testing.assert_allclose(matrix, phase * expected, atol=1e-12)


def test_controlled_rotations_by_plain_numbers_are_as_precise_as_others():
    def circuit(inputs):
        qml.ctrl(qml.RX(inputs, wires=2), control=[0, 1])
        qml.ctrl(qml.RX(0.1, wires=2), control=[0, 1])
        return qml.expval(qml.Z(2))

    angles = trace(circuit, torch.tensor(0.1, dtype=torch.float64, requires_grad=True), {}).parameters
    assert [angle.item() for angle in angles[:4]] == [angle.item() for angle in angles[4:]]


def draw(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def of_sample(sample, weights):
    first, second = sample
    angles = [torch.asin(first) * weights[0], torch.where(second > 0, second, 0.1), 0.5 * np.pi * weights[0]]
    return [torch.stack(angles), torch.linalg.matrix_exp(torch.complex(weights, weights[[1, 0]]).diag()), sample.T[:1]]


def of_batch(inputs, weights):
    angles = [torch.atan(column) for column in inputs.T] + [torch.atan(inputs[:, 0]) ** weights.tanh()[1]]
    low, high = torch.aminmax(torch.nn.functional.normalize(inputs, dim=-1), dim=-1)
    return [torch.stack([*angles, low, high]), torch.tensor([[1.0, 2]], dtype=torch.float64) @ weights]


def stacked(inputs, weights):
    return [torch.stack(parts) for parts in zip(*(of_sample(row, weights) for row in inputs), strict=True)]


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize("functions", [(of_batch,), (stacked, of_sample)])
def test_a_recording_is_the_function_without_its_python(functions):
    n_calls = [0]

    def counted(function):
        def call(*arguments):
            n_calls[0] += 1
            return function(*arguments)

        return call

    recorded = Recorded(*map(counted, functions))
    recorded(draw(4, 2, seed=1), draw(2, seed=2))
    before = n_calls[0]
    leaves = [(0.3 * draw(4, 2, seed=3)).detach().requires_grad_(), draw(2, seed=4)]
    results = []
    for function in (recorded, functions[0]):
        found = function(*leaves)
        total = sum((t.abs() * torch.linspace(1, 2, t.numel()).reshape(t.shape)).sum() for t in found)
        results.append([*(t.detach() for t in found), *torch.autograd.grad(total, leaves)])
    assert n_calls[0] == before
    for seen, expected in zip(*results, strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-12)


def in_place(inputs, weights):
    angles = inputs * weights[0]
    angles[:, 0] = 0
    return [angles]


def without_gradient(inputs, weights):
    with torch.no_grad():
        return [inputs * weights[0]]


def of_a_value(inputs, weights):
    return [inputs * (2 if (weights > 0).all() else 3)]


def through_numpy(inputs, weights):
    return [inputs * torch.from_numpy(weights.detach().numpy().copy())]


def at_random(inputs, weights):
    return [inputs * torch.rand(1) * weights[0]]


@pytest.mark.parametrize("function", [in_place, without_gradient, of_a_value, through_numpy, at_random])
def test_a_function_that_is_more_than_torch_calls_runs_itself(function):
    recorded = Recorded(function)
    for seed in range(4):
        leaves = draw(3, 2, seed=seed), draw(2, seed=seed + 10)
        torch.manual_seed(seed)
        (seen,) = recorded(*leaves)
        torch.manual_seed(seed)
        (expected,) = function(*leaves)
        if seed or function is not at_random:  # Recording draws numbers too.
            torch.testing.assert_close(seen, expected, rtol=0, atol=0)
        assert seen.requires_grad == expected.requires_grad
