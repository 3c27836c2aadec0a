"""Many heads at once, in NumPy and in torch, against ordinary QNodes and one head alone."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.quantum.compiled import compile_circuit
from pipeline.quantum.dense import layered
from pipeline.quantum.dense.chained import Chained
from pipeline.quantum.engine.chain import Chain
from pipeline.quantum.engine.engine import Engine
from pipeline.quantum.engine.heads import HeadByHead, Heads
from pipeline.quantum.program.program import make_program
from tests.circuits import MixedCircuit, RotCircuit, batches, by_qnode, circuits, engine_of, problem, seeds
from tests.random_circuits import RandomCircuit
from tests.random_circuits import by_qnode as random_by_qnode


def check(circuit, n_samples, seed):
    angles, weights, upstream = problem(circuit, n_samples, seed)
    expected = by_qnode(circuit, angles, weights, upstream)
    engine = engine_of(circuit)
    for simulator in (Heads(engine.program), engine.dense):
        values, memory = simulator.forward(angles.numpy()[None], weights.numpy()[None])
        results = values, *simulator.backward(memory, upstream.numpy()[None])
        for result, reference in zip(results, expected, strict=True):
            np.testing.assert_allclose(result[0], reference, rtol=0, atol=1e-10)


@given(circuits, batches, seeds)
@settings(max_examples=30, deadline=None)
def test_as_backprop(circuit, n_samples, seed):
    check(circuit, n_samples, seed)


@pytest.mark.parametrize("kind", [MixedCircuit, RotCircuit])
@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 0, 3), (3, 3, 4), (4, 2, 40), (6, 2, 3)])
def test_complex_gates(kind, shape):
    n_qubits, depth, n_samples = shape
    check(kind(n_qubits=n_qubits, depth=depth), n_samples, 1)


@given(seeds, st.integers(1, 7), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_heads_of_random_circuits_are_heads_one_by_one(seed, n_wires, n_samples, n_heads):
    circuit = RandomCircuit(seed, n_wires)
    compiled = compile_circuit(circuit, circuit.weight_shapes, circuit.n_inputs)
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n_heads, n_samples, circuit.n_inputs))
    weights = rng.normal(size=(n_heads, circuit.n_weights))
    values, memory = compiled.forward(inputs, weights)
    upstream = rng.normal(size=values.shape)
    together = values, *compiled.backward(memory, upstream)
    for head in range(n_heads):
        values, memory = compiled.forward(inputs[head], weights[head])
        alone = values, *compiled.backward(memory, upstream[head])
        for result, reference in zip(together, alone, strict=True):
            np.testing.assert_allclose(result[head], reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(12))
def test_fixed_gates_of_many_wires_go_one_by_one_or_as_a_permutation(seed, monkeypatch):
    monkeypatch.setattr(layered, "MATRIX_QUBITS", 1)
    circuit = RandomCircuit(seed, 3 + seed % 3, n_gates=30)
    rng = np.random.default_rng(seed)
    inputs, weights = rng.normal(size=(3, circuit.n_inputs)), rng.normal(size=circuit.n_weights)
    program, _ = make_program(circuit, circuit.n_inputs, circuit.weight_shapes)
    steps = layered.Layered(program)
    dense = Engine(program, circuit, circuit.weight_shapes, "complex128", None).dense
    monkeypatch.setattr(dense, "_steps", steps)
    values, memory = dense.forward(inputs, weights)
    upstream = rng.normal(size=values.shape)
    expected = random_by_qnode(circuit, inputs, weights, upstream)
    for found, reference in zip((values, *dense.backward(memory, upstream)), expected, strict=True):
        np.testing.assert_allclose(found, reference, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heads_are_independent(dtype):
    circuit = MixedCircuit(n_qubits=3, depth=2)
    engine = engine_of(circuit)
    simulator = engine.heads
    assert isinstance(simulator, Heads)
    heads = [[tensor.numpy().astype(dtype) for tensor in problem(circuit, 5, seed)] for seed in range(4)]
    angles, weights, upstream = (np.stack(arrays) for arrays in zip(*heads, strict=True))
    values, memory = simulator.forward(angles, weights)
    assert values.dtype == dtype
    together = values, *simulator.backward(memory, upstream)
    np.testing.assert_array_equal(simulator.forward(angles, weights, keep=False)[0], values)
    by_torch = engine.dense(torch.from_numpy(angles), torch.from_numpy(weights))
    np.testing.assert_allclose(by_torch, values, atol=1e-6)
    for k, (head_angles, head_weights, head_upstream) in enumerate(heads):
        values, memory = simulator.forward(head_angles[None], head_weights[None])
        alone = values, *simulator.backward(memory, head_upstream[None])
        for result, reference in zip(together, alone, strict=True):
            np.testing.assert_allclose(result[k], reference[0], atol=3e-6 if dtype == "float32" else 1e-12)


def test_heads_of_amplitudes():
    def circuit(inputs, weights):
        qml.AmplitudeEmbedding(inputs, wires=[2, 0], pad_with=0.5, normalize=True)
        qml.RY(weights[0] * weights[1], wires=0)
        qml.CNOT(wires=[0, 1])
        qml.RY(weights[1], wires=1)
        return [qml.expval(qml.X(1)), qml.probs(wires=[2, 1])]

    compiled = compile_circuit(circuit, {"weights": (2,)}, 3)
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 2))
    values, memory = compiled.forward(inputs, weights)
    assert compiled.fallback_reason is None
    upstream = rng.normal(size=values.shape)
    together = values, *compiled.backward(memory, upstream)
    for head in range(2):
        values, memory = compiled.forward(inputs[head], weights[head])
        alone = values, *compiled.backward(memory, upstream[head])
        for result, reference in zip(together, alone, strict=True):
            np.testing.assert_allclose(result[head], reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Chained, layered.Layered])
def test_second_derivatives(kind):
    circuit = MixedCircuit(n_qubits=2, depth=1)
    angles, weights, _ = problem(circuit, 3, 0)
    dense = engine_of(circuit).dense
    assert isinstance(dense._steps, Chained)
    dense._steps = kind(dense.program)
    inputs = angles[None].requires_grad_(), weights[None].requires_grad_()
    assert torch.autograd.gradcheck(dense, inputs)
    assert torch.autograd.gradgradcheck(dense, inputs)


@given(seeds, st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_chain_and_layers_make_the_same_values(seed, n_wires, n_samples):
    circuit = RandomCircuit(seed, n_wires)
    program, _ = make_program(circuit, circuit.n_inputs, circuit.weight_shapes)
    assume(program.polynomials is not None)
    dense = Engine(program, circuit, circuit.weight_shapes, "complex128", None).dense
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, n_samples, circuit.n_inputs, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, circuit.n_weights, generator=generator, dtype=torch.float64)
    seen = dense(inputs, weights)
    dense._steps = layered.Layered(dense.program)
    torch.testing.assert_close(seen, dense(inputs, weights), rtol=0, atol=1e-10)


def test_equal_layers_share_their_matrix():
    matrices = Chain(engine_of(RotCircuit(n_qubits=3, depth=5)).program).tables("float64").matrices
    assert len({id(matrix) for matrix in matrices}) < len(matrices) / 2


@settings(max_examples=20, deadline=None)
@given(circuit=circuits.filter(lambda c: c.n_qubits <= 5), n_samples=batches, seed=seeds)
def test_states_are_the_qnodes(circuit, n_samples, seed):
    angles, weights, _ = problem(circuit, n_samples, seed)
    compiled = compile_circuit(circuit, {"weights": (circuit.n_weights,)}, circuit.n_inputs)
    ours = compiled.states(angles[None], weights[None])[0]

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits), interface="torch")
    def state(inputs, weights):
        circuit.embedding(inputs)
        circuit.variational_block(weights)
        return qml.state()

    theirs = torch.stack([state(row, weights) for row in angles]).T
    assert ours.dtype == torch.float64
    assert ours.shape == (2**circuit.n_qubits, n_samples)
    assert torch.allclose(ours, theirs.real, atol=1e-10)


def test_heads_at_once_that_differ_run_one_by_one(monkeypatch):
    circuit = RotCircuit(n_qubits=2, depth=1)
    assert isinstance(engine_of(circuit).heads, Heads)
    forward = Heads.forward

    def wrong(self, *arguments):
        values, memory = forward(self, *arguments)
        return values + 1e-3, memory

    monkeypatch.setattr(Heads, "forward", wrong)
    assert isinstance(engine_of(circuit).heads, HeadByHead)
