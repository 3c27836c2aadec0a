"""Circuits of real gates, the paper's above all, against ordinary QNodes and closed forms."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.quantum.circuit import Circuit
from pipeline.quantum.engine import packed, simulator
from tests.circuits import MixedCircuit, RotCircuit, batches, by_qnode, circuits, engine_of, problem, seeds
from tests.memory import peak


def check(circuit, n_samples, seed, c_dtype="complex128", tolerance=1e-10, diff_method="backprop"):
    angles, weights, upstream = problem(circuit, n_samples, seed)
    engine = engine_of(circuit, c_dtype)
    values, memory = engine.forward(angles.numpy(), weights.numpy())
    results = values, *engine.backward(memory, upstream.numpy())
    for result, expected in zip(results, by_qnode(circuit, angles, weights, upstream, diff_method), strict=True):
        scale = max(1, np.abs(expected).max(initial=0)) if c_dtype == "complex64" else 1
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * scale)


@given(circuits, batches, seeds)
@settings(max_examples=150, deadline=None)
def test_as_backprop(circuit, n_samples, seed):
    check(circuit, n_samples, seed)


@given(circuits, batches, seeds)
@settings(max_examples=30, deadline=None)
def test_single_precision(circuit, n_samples, seed):
    check(circuit, n_samples, seed, "complex64", 1e-5)


@pytest.mark.parametrize("entangler", ["chain", "ring", "none"])
def test_as_parameter_shift(entangler):
    for n_qubits, depth, n_samples in ((1, 2, 1), (3, 2, 5), (4, 1, 2)):
        check(Circuit(n_qubits=n_qubits, depth=depth, entangler=entangler), n_samples, 7, diff_method="parameter-shift")


@pytest.mark.parametrize("kind", [MixedCircuit, RotCircuit])
@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 0, 3), (3, 3, 4), (4, 2, 40), (6, 2, 3)])
def test_complex_gates(kind, shape):
    n_qubits, depth, n_samples = shape
    check(kind(n_qubits=n_qubits, depth=depth), n_samples, 1)
    check(kind(n_qubits=n_qubits, depth=depth), n_samples, 1, "complex64", 1e-5)


def test_one_qubit_without_layers_is_minus_sine():
    engine = engine_of(Circuit(n_qubits=1, depth=0))
    angles = np.linspace(-3, 3, 7)[:, None]
    values, memory = engine.forward(angles, np.zeros(0))
    np.testing.assert_allclose(values, -np.sin(angles), atol=1e-15)
    gradient, _ = engine.backward(memory, np.ones((7, 1)))
    np.testing.assert_allclose(gradient, -np.cos(angles), atol=1e-15)


def test_one_qubit_adds_its_angles():
    engine = engine_of(Circuit(n_qubits=1, depth=2))
    angles, weights = np.array([[0.3]]), np.array([0.5, -1.1])
    values, memory = engine.forward(angles, weights)
    np.testing.assert_allclose(values, [[-np.sin(0.3 + 0.5 - 1.1)]], atol=1e-15)
    for gradient in engine.backward(memory, np.ones((1, 1))):
        np.testing.assert_allclose(gradient, np.full(gradient.shape, -np.cos(0.3 + 0.5 - 1.1)), atol=1e-15)


@pytest.mark.parametrize("kind", [Circuit, MixedCircuit])
@pytest.mark.parametrize("n_samples", [3, 9, 70])
def test_slices_and_forgotten_states_change_nothing(monkeypatch, kind, n_samples):
    circuit = kind(n_qubits=5, depth=2)
    angles, weights, upstream = (tensor.numpy() for tensor in problem(circuit, n_samples, 2))
    whole = engine_of(circuit)
    values, memory = whole.forward(angles, weights)
    expected = values, *whole.backward(memory, upstream)
    monkeypatch.setattr(packed, "BLOCK", 2**7)
    monkeypatch.setattr(simulator, "BLOCK", 2**7)
    monkeypatch.setattr(simulator, "KEEP", 2**8)
    sliced = engine_of(circuit)
    values, memory = sliced.forward(angles, weights)
    assert n_samples <= 8 or any(done is None for done in memory.of_simulator.passes)
    for result, reference in zip((values, *sliced.backward(memory, upstream)), expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=0, atol=1e-12)


def test_only_what_is_asked_for():
    for n_samples in (3, 30):
        circuit = Circuit(n_qubits=3, depth=2)
        angles, weights, upstream = (tensor.numpy() for tensor in problem(circuit, n_samples, 3))
        engine = engine_of(circuit)
        assert engine.forward(angles, weights, keep=False)[1] is None
        _, memory = engine.forward(angles, weights)
        both = engine.backward(memory, upstream)
        only_angles = engine.backward(memory, upstream, need_weights=False)
        only_weights = engine.backward(memory, upstream, need_inputs=False)
        assert only_angles[1] is None
        assert only_weights[0] is None
        np.testing.assert_allclose(only_angles[0], both[0], atol=1e-14)
        np.testing.assert_allclose(only_weights[1], both[1], atol=1e-14)


def test_threads_do_not_disturb_each_other():
    circuit = Circuit(n_qubits=6, depth=3)
    problems = [[tensor.numpy() for tensor in problem(circuit, 5, seed)] for seed in range(4)]
    engine = engine_of(circuit)

    def run(angles, weights, upstream):
        values, memory = engine.forward(angles, weights)
        return values, *engine.backward(memory, upstream)

    expected = [run(*p) for p in problems]
    wrong = []

    def repeat(p, reference):
        for _ in range(50):
            if any(not np.array_equal(a, b) for a, b in zip(run(*p), reference, strict=True)):
                wrong.append(p)

    threads = [threading.Thread(target=repeat, args=pair) for pair in zip(problems, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_stays_bounded():
    """Of 16 qubits and 32 samples a register would take 32 MiB; beyond what is kept, more samples take no more."""
    circuit = Circuit(n_qubits=16, depth=1)
    peaks = []
    for n_samples in (32, 64):
        angles, weights, upstream = (tensor.numpy() for tensor in problem(circuit, n_samples, 4))
        engine = engine_of(circuit)

        def run(engine=engine, angles=angles, weights=weights, upstream=upstream):
            _, memory = engine.forward(angles, weights)
            engine.backward(memory, upstream)

        peaks.append(peak(run))
    assert peaks[0] < 3 * 32 * 2**20
    assert peaks[1] < 1.05 * peaks[0]
