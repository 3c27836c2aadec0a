"""The dense form against ordinary QNodes, by torch's operations and by its own backward pass."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings

from pipeline.quantum.circuit import Circuit, z_signs
from pipeline.quantum.mari.dense import dense_circuit
from tests.circuits import MixedCircuit, RotCircuit, batches, by_qnode, circuits, problem, seeds


def check(circuit, n_samples, seed):
    angles, weights, upstream = problem(circuit, n_samples, seed)
    expected = by_qnode(circuit, angles, weights, upstream)
    simulator = dense_circuit(circuit, "float64")

    values, memory = simulator.forward(angles.numpy()[None], weights.numpy()[None])
    by_hand = values, *simulator.backward(memory, upstream.numpy()[None])
    angles, weights = angles[None].requires_grad_(), weights[None].requires_grad_()
    values = simulator.expectation_values(angles, weights)
    gradients = torch.autograd.grad(values, (angles, weights), upstream[None], materialize_grads=True)
    by_torch = values.detach().numpy(), *(gradient.numpy() for gradient in gradients)
    for results in (by_hand, by_torch):
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_heads_are_independent(dtype):
    circuit = Circuit(n_qubits=3, depth=2)
    simulator = dense_circuit(circuit, dtype)
    heads = [[tensor.numpy().astype(dtype) for tensor in problem(circuit, 5, seed)] for seed in range(4)]
    angles, weights, upstream = (np.stack(arrays) for arrays in zip(*heads, strict=True))
    values, memory = simulator.forward(angles, weights)
    assert values.dtype == dtype
    together = values, *simulator.backward(memory, upstream)
    np.testing.assert_array_equal(simulator.forward(angles, weights, keep=False)[0], values)
    by_torch = simulator.expectation_values(torch.from_numpy(angles), torch.from_numpy(weights))
    np.testing.assert_allclose(by_torch, values, atol=1e-6)
    for k, (head_angles, head_weights, head_upstream) in enumerate(heads):
        values, memory = simulator.forward(head_angles[None], head_weights[None])
        alone = values, *simulator.backward(memory, head_upstream[None])
        for result, reference in zip(together, alone, strict=True):
            np.testing.assert_allclose(result[k], reference[0], atol=3e-6 if dtype == "float32" else 1e-12)


def test_second_derivatives():
    angles, weights, _ = problem(Circuit(n_qubits=2, depth=1), 3, 0)
    function = dense_circuit(Circuit(n_qubits=2, depth=1), "float64").expectation_values
    inputs = angles[None].requires_grad_(), weights[None].requires_grad_()
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_equal_layers_share_their_matrix():
    matrices = dense_circuit(Circuit(n_qubits=3, depth=5)).matrices
    assert len(matrices) == 6
    assert len({id(matrix) for matrix in matrices}) == 3


@settings(max_examples=20, deadline=None)
@given(circuit=circuits.filter(lambda c: c.n_qubits <= 5), n_samples=batches, seed=seeds)
def test_amplitudes_are_the_qnodes_state(circuit, n_samples, seed):
    angles, weights, _ = problem(circuit, n_samples, seed)
    ours = dense_circuit(circuit, "float64").amplitudes(angles[None], weights[None])[0]

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits), interface="torch")
    def state(inputs, weights):
        circuit.embedding(inputs)
        circuit.variational_block(weights)
        return qml.state()

    theirs = torch.stack([state(row, weights) for row in angles])
    assert ours.shape == (n_samples, 2**circuit.n_qubits)
    assert torch.allclose(ours, theirs.real, atol=1e-10)


def test_amplitudes_of_complex_gates_come_as_real_and_imaginary_parts():
    circuit = MixedCircuit(n_qubits=3, depth=2)
    angles, weights, _ = problem(circuit, 4, 0)
    dense = dense_circuit(circuit, "float64")
    amplitudes = dense.amplitudes(angles[None], weights[None])[0]
    assert amplitudes.shape == (4, 16)
    squares = amplitudes[:, :8] ** 2 + amplitudes[:, 8:] ** 2
    values = dense.expectation_values(angles[None], weights[None])[0]
    assert torch.allclose(squares @ torch.from_numpy(z_signs(3)).T, values)
