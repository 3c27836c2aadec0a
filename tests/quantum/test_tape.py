"""pipeline.quantum.program.tape: what a trace makes of PennyLane's gates is what PennyLane makes of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.quantum.matrices import apply_matrix
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
