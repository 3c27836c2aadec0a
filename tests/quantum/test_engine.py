"""Engines against ordinary QNodes: values and all gradients, over random circuits and PennyLane's templates."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.quantum.engine import register, simulator
from pipeline.quantum.engine.engine import Engine
from pipeline.quantum.engine.fronts import ProductFront
from pipeline.quantum.program.program import make_program
from tests.random_circuits import RandomCircuit, by_qnode

seeds = st.integers(0, 2**32 - 1)


def engine_of(circuit, c_dtype="complex128"):
    program, _ = make_program(circuit, circuit.n_inputs, circuit.weight_shapes, 2, range(circuit.n_wires))
    return Engine(program, circuit, circuit.weight_shapes, c_dtype, range(circuit.n_wires))


def problem(circuit, n_outputs, n_samples, seed):
    rng = np.random.default_rng(seed)
    shapes = ((n_samples, circuit.n_inputs), circuit.n_weights, (n_samples, n_outputs))
    return tuple(rng.normal(size=shape) for shape in shapes)


def check(circuit, n_samples, seed, c_dtype="complex128", tolerance=1e-10, diff_method="backprop"):
    engine = engine_of(circuit, c_dtype)
    inputs, weights, upstream = problem(circuit, engine.n_outputs, n_samples, seed)
    values, memory = engine.forward(inputs, weights)
    results = values, *engine.backward(memory, upstream)
    for result, expected in zip(results, by_qnode(circuit, inputs, weights, upstream, diff_method), strict=True):
        scale = max(1, np.abs(expected).max(initial=0)) if c_dtype == "complex64" else 1
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * scale)


@given(seeds, st.integers(1, 6), st.integers(1, 9), st.booleans(), st.sampled_from([0, 4]))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_circuits_as_backprop(seed, n_wires, n_samples, polynomial, fused_qubits):
    before, simulator.FUSED_QUBITS = simulator.FUSED_QUBITS, fused_qubits
    try:
        check(RandomCircuit(seed, n_wires, polynomial=polynomial), n_samples, seed)
    finally:
        simulator.FUSED_QUBITS = before


@pytest.mark.slow
@given(seeds, st.integers(1, 6), st.integers(1, 9), st.booleans(), st.sampled_from([0, 4, 6]))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_circuits_as_backprop(seed, n_wires, n_samples, polynomial, fused_qubits):
    before, simulator.FUSED_QUBITS = simulator.FUSED_QUBITS, fused_qubits
    try:
        check(RandomCircuit(seed, n_wires, n_gates=24, polynomial=polynomial), n_samples, seed)
    finally:
        simulator.FUSED_QUBITS = before


@pytest.mark.parametrize(("seed", "n_wires"), [(3, 1), (4, 3), (5, 5)])
def test_single_precision(seed, n_wires):
    check(RandomCircuit(seed, n_wires), 3, seed, "complex64", 1e-4)


@pytest.mark.parametrize("measured", ["diagonal", "hermitian", "mixed"])
@pytest.mark.parametrize("angles", ["polynomial", "traced", "of matrices"])
@pytest.mark.parametrize("n_wires", [2, 5])
def test_single_precision_of_everything(n_wires, angles, measured):
    def circuit(inputs, weights):
        scaled = torch.tanh(inputs) if angles == "traced" else 1.5 * inputs
        qml.AngleEmbedding(scaled[..., :n_wires], wires=range(n_wires), rotation="Y")
        for layer in range(3):
            for wire in range(n_wires):
                qml.Rot(weights[0], weights[layer] * weights[1], weights[2], wires=wire)
            if angles == "of matrices":
                cos, sin = torch.cos(inputs[..., 0] * weights[3]), torch.sin(inputs[..., 0] * weights[3])
                rows = torch.stack([cos, -sin, sin, cos], dim=-1).reshape(*inputs.shape[:-1], 2, 2)
                qml.QubitUnitary(rows.to(torch.complex128), wires=layer % n_wires)
            qml.CNOT(wires=[0, n_wires - 1])
        if measured == "diagonal":
            return z_all(n_wires)
        hermitian = [qml.expval(qml.Hermitian(np.array([[1, 0.5j], [-0.5j, 0.2]]), wires=1))]
        return hermitian if measured == "hermitian" else [*hermitian, qml.probs(wires=[1]), qml.expval(qml.Z(0))]

    for n_samples in (1, 40):
        check(Templates(circuit, n_wires, n_wires, 4), n_samples, 7, "complex64", 2e-5)


class Templates:
    """A circuit of PennyLane's documentation of its templates, for ``RandomCircuit``'s place."""

    def __init__(self, function, n_wires, n_inputs, n_weights):
        self.function, self.n_wires, self.n_inputs, self.n_weights = function, n_wires, n_inputs, n_weights
        self.weight_shapes = {"weights": (n_weights,)}

    def __call__(self, inputs, weights):
        return self.function(inputs, weights)


def z_all(n_wires):
    return [qml.expval(qml.Z(wire)) for wire in range(n_wires)]


def strongly_entangling(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(4))
    qml.StronglyEntanglingLayers(weights.reshape(2, 4, 3), wires=range(4))
    return z_all(4)


def basic_entangler(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3), rotation="Y")
    qml.BasicEntanglerLayers(weights.reshape(2, 3), wires=range(3), rotation=qml.RZ)
    return [qml.probs(wires=[0, 2])]


def reuploading(inputs, weights):
    for layer in weights.reshape(3, 5, 3):
        qml.AngleEmbedding(inputs, wires=range(5), rotation="Y")
        for wire, angles in enumerate(layer):
            qml.Rot(*angles, wires=wire)
        for wire in range(4):
            qml.CNOT(wires=[wire, wire + 1])
    return z_all(5)


def iqp(inputs, weights):
    qml.IQPEmbedding(inputs, wires=range(3), n_repeats=2)
    qml.SimplifiedTwoDesign(weights[:3], weights[3:].reshape(1, 2, 2), wires=range(3))
    return [qml.expval(qml.Z(0) @ qml.X(2)), qml.expval(qml.Hamiltonian([0.5, 2.0], [qml.Y(1), qml.Z(0)]))]


def amplitudes(inputs, weights):
    qml.AmplitudeEmbedding(inputs, wires=range(3), normalize=True, pad_with=0.3)
    qml.StronglyEntanglingLayers(weights.reshape(1, 3, 3), wires=range(3))
    return [qml.probs(wires=range(3))]


def qaoa(inputs, weights):
    qml.QAOAEmbedding(inputs, weights.reshape(2, 3), wires=range(2))
    return z_all(2)


def basis_state(inputs, weights):
    qml.BasisState(np.array([1, 0, 1]), wires=range(3))
    qml.AngleEmbedding(inputs, wires=range(3), rotation="Z")
    qml.QFT(wires=range(3))
    qml.RandomLayers(weights.reshape(1, 4), wires=range(3), seed=4)
    return z_all(3)


TEMPLATES = {
    "strongly entangling": Templates(strongly_entangling, 4, 4, 24),
    "basic entangler": Templates(basic_entangler, 3, 3, 6),
    "re-uploading": Templates(reuploading, 5, 5, 45),
    "IQP": Templates(iqp, 3, 3, 7),
    "amplitudes": Templates(amplitudes, 3, 6, 9),
    "QAOA": Templates(qaoa, 2, 2, 6),
    "basis state": Templates(basis_state, 3, 3, 4),
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("n_samples", [1, 3, 40])
def test_templates_as_backprop(name, n_samples):
    check(TEMPLATES[name], n_samples, 5)


@pytest.mark.parametrize("name", ["QAOA", "basic entangler"])
def test_templates_as_parameter_shift(name):
    check(TEMPLATES[name], 2, 6, diff_method="parameter-shift")


def test_one_rotation_is_cosine():
    def circuit(inputs, weights):
        qml.RX(inputs[..., 0] * weights[0], wires=0)
        return [qml.expval(qml.Z(0)), qml.probs(wires=0)]

    engine = engine_of(Templates(circuit, 1, 1, 1))
    x = np.linspace(-3, 3, 7)[:, None]
    values, memory = engine.forward(x, np.array([1.5]))
    np.testing.assert_allclose(values[:, 0], np.cos(1.5 * x[:, 0]), atol=1e-14)
    np.testing.assert_allclose(values[:, 1], np.cos(0.75 * x[:, 0]) ** 2, atol=1e-14)
    by_inputs, by_weights = engine.backward(memory, np.tile([1.0, 0, 0], (7, 1)))
    np.testing.assert_allclose(by_inputs, -1.5 * np.sin(1.5 * x), atol=1e-14)
    np.testing.assert_allclose(by_weights, [-(x * np.sin(1.5 * x)).sum()], atol=1e-13)


@pytest.mark.parametrize("name", ["re-uploading", "strongly entangling"])
@pytest.mark.parametrize("fused", [0, 5])
def test_blocks_and_forgotten_states_change_nothing(monkeypatch, name, fused):
    circuit = TEMPLATES[name]
    monkeypatch.setattr(simulator, "FUSED_QUBITS", fused)
    inputs, weights, upstream = problem(circuit, circuit.n_wires, 9, 1)
    whole = engine_of(circuit)
    values, memory = whole.forward(inputs, weights)
    expected = values, *whole.backward(memory, upstream)
    monkeypatch.setattr(simulator, "BLOCK", 2**6)
    monkeypatch.setattr(simulator, "KEEP", 2**8)
    monkeypatch.setattr(register, "MOST_KEPT", 2**6)
    parts = engine_of(circuit)
    values, memory = parts.forward(inputs, weights)
    assert any(done is None for done in memory.of_simulator.passes)
    for result, reference in zip((values, *parts.backward(memory, upstream)), expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_wires", [2, 5])
def test_equal_layers_of_shared_phases_before_and_behind_the_inputs(n_wires):
    def circuit(inputs, weights):
        for _ in range(2):
            qml.IsingXX(weights[0], wires=[0, 1])
            qml.RY(weights[1], wires=0)
            qml.RZ(inputs[..., 0], wires=0)
            qml.RY(weights[1], wires=0)
        return z_all(n_wires)

    templates = Templates(circuit, n_wires, 1, 2)
    layers = engine_of(templates)._simulator._steps._phases
    assert len({layer.key for layer in layers if layer.is_shared}) < sum(layer.is_shared for layer in layers)
    check(templates, 5, 3)


def test_a_zero_row_has_no_amplitudes():
    engine = engine_of(TEMPLATES["amplitudes"])
    engine.program.amplitudes.__dict__["pad"] = 0.0
    rows = np.array([[1.0, 0, 0, 0, 0, 0], [0.0] * 6])
    with pytest.raises(ValueError, match="row 1 of the inputs is all zeros"):
        engine.forward(rows, np.zeros(9))
    with pytest.raises(ValueError, match="row 1 of the inputs is all zeros"):
        engine.heads.forward(np.stack([rows, rows]), np.zeros((2, 9)))


def test_real_circuits_stay_real():
    def real(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(3), rotation="Y")
        qml.CNOT(wires=[0, 1])
        qml.RY(weights[0], wires=1)
        return z_all(3)

    def complex_(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(3), rotation="Y")
        qml.RZ(weights[0], wires=1)
        return z_all(3)

    assert engine_of(Templates(real, 3, 3, 1))._simulator.is_real
    assert not engine_of(Templates(complex_, 3, 3, 1))._simulator.is_real
    for function in (real, complex_):
        check(Templates(function, 3, 3, 1), 4, 2)


def test_torch_is_not_asked_for_more_than_first_derivatives_of_what_is_traced():
    def circuit(inputs, weights):
        qml.RX(torch.arctan(inputs[..., 0]) * weights[0], wires=0)
        return [qml.expval(qml.Y(0))]

    engine = engine_of(Templates(circuit, 1, 1, 1))
    assert engine.program.polynomials is None
    check(Templates(circuit, 1, 1, 1), 3, 3)


@pytest.mark.parametrize("rotation", ["X", "Y", "Z"])
@pytest.mark.parametrize("n_wires", [1, 3, 5])
def test_circuits_that_start_with_product_states(rotation, n_wires):
    def circuit(inputs, weights):
        for wire in range(n_wires):
            qml.Hadamard(wires=wire)
            qml.S(wires=wire)
        qml.AngleEmbedding(inputs, wires=range(n_wires), rotation=rotation)
        qml.AngleEmbedding(inputs, wires=range(n_wires), rotation=rotation)
        qml.StronglyEntanglingLayers(weights.reshape(1, n_wires, 3), wires=range(n_wires))
        return z_all(n_wires)

    templates = Templates(circuit, n_wires, n_wires, 3 * n_wires)
    assert isinstance(engine_of(templates)._simulator._front, ProductFront)
    for n_samples in (1, 3, 40):
        check(templates, n_samples, 4)
    check(templates, 3, 4, "complex64", 1e-4)
