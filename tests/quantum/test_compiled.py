"""``compile_circuit``: a table of gates, many heads, coefficients, the dense form over a training, and refusals."""

from __future__ import annotations

import pickle

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.quantum.circuit import Circuit
from pipeline.quantum.compiled import compile_circuit
from pipeline.quantum.dense.dense import Dense

GATES = {
    **{name: (getattr(qml, name), 1, 1) for name in ("RX", "RY", "RZ", "PhaseShift", "U1")},
    "U2": (qml.U2, 2, 1),
    "U3": (qml.U3, 3, 1),
    "Rot": (qml.Rot, 3, 1),
    **{name: (getattr(qml, name), 1, 2) for name in ("CRX", "CRY", "CRZ", "ControlledPhaseShift")},
    **{name: (getattr(qml, name), 1, 2) for name in ("IsingXX", "IsingYY", "IsingZZ", "IsingXY", "PSWAP")},
    "CRot": (qml.CRot, 3, 2),
    "MultiRZ": (qml.MultiRZ, 1, 3),
    "PauliRot": (lambda angle, wires: qml.PauliRot(angle, "XYZ", wires=wires), 1, 3),
    "SingleExcitation": (qml.SingleExcitation, 1, 2),
    "DoubleExcitation": (qml.DoubleExcitation, 1, 4),
    "controlled": (lambda angle, wires: qml.ctrl(qml.RX(angle, wires=wires[2]), wires[:2]), 1, 3),
    "adjoint": (lambda angle, wires: qml.adjoint(qml.CRY(angle, wires=wires)), 1, 2),
    "evolution": (lambda angle, wires: qml.evolve(0.5 * (qml.X(wires[0]) @ qml.Z(wires[1])), angle), 1, 2),
    "exponential": (lambda angle, wires: qml.exp(qml.Y(wires[0]) @ qml.X(wires[1]), -0.5j * angle), 1, 2),
    "sum": (lambda angle, wires: qml.evolve(qml.X(wires[0]) + qml.Z(wires[0]) @ qml.Z(wires[1]), angle), 1, 2),
    "controlled evolution": (lambda angle, wires: qml.ctrl(qml.evolve(qml.X(wires[0]), angle), wires[1:]), 1, 3),
    "SpecialUnitary": (lambda a, b, c, wires: qml.SpecialUnitary(torch.stack([a, b, c], -1), wires=wires), 3, 1),
    "Toffoli": (lambda wires: qml.Toffoli(wires=wires), 0, 3),
    "ISWAP": (lambda wires: qml.ISWAP(wires=wires), 0, 2),
    "QFT": (lambda wires: qml.QFT(wires=wires), 0, 3),
    "DiagonalQubitUnitary": (lambda wires: qml.DiagonalQubitUnitary(np.array([1, 1j, -1, -1j]), wires=wires), 0, 2),
}


def of_gate(name):
    gate, n_angles, n_wires = GATES[name]

    def circuit(inputs, weights):
        for wire in range(n_wires):
            qml.RY(weights[wire], wires=wire)
            qml.RZ(0.3 + wire, wires=wire)
        gate(*(inputs[..., k] * weights[k] + weights[3] for k in range(n_angles)), wires=list(range(n_wires)))
        gate(*(weights[4 + k] for k in range(n_angles)), wires=list(reversed(range(n_wires))))
        return [qml.expval(qml.X(0)), qml.expval(qml.Y(n_wires - 1)), qml.probs(wires=0)]

    return circuit


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def differentiated(function, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    values = function(*leaves)
    upstream = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).reshape(values.shape)
    return values.detach(), *torch.autograd.grad(values, leaves, upstream, materialize_grads=True)


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("name", GATES)
def test_every_gate_as_its_qnode(name, simulator):
    """The self-check at first use compares values and gradients with default.qubit; here, that nothing falls back."""
    compiled = compile_circuit(of_gate(name), {"weights": (8,)}, 3, simulator=simulator)
    assert compiled.fallback_reason is None
    assert compiled.simulator == simulator


@pytest.mark.parametrize("name", ["Rot", "CRot", "PauliRot", "IsingXY"])
def test_gates_of_many_samples_as_their_qnode(name):
    circuit = of_gate(name)
    qnode = qml.QNode(circuit, qml.device("default.qubit"), interface="torch")

    def expected(inputs, weights):
        rows = [torch.cat([result.reshape(-1) for result in qnode(row, weights)]) for row in inputs]
        return torch.stack(rows)

    leaves = draw(5, 3), draw(8, seed=2)
    compiled = compile_circuit(circuit, {"weights": (8,)}, 3)
    found = differentiated(lambda x, w: compiled(x, {"weights": w}), *leaves)
    for seen, reference in zip(found, differentiated(expected, *leaves), strict=True):
        torch.testing.assert_close(seen, reference, rtol=0, atol=1e-10)


def tanh_angles(inputs, weights):
    qml.AngleEmbedding(torch.tanh(inputs) * weights[0], wires=range(2))
    qml.CRX(weights[1], wires=[0, 1])
    return [qml.expval(qml.Z(0)), qml.probs(wires=1)]


def amplitudes(inputs, weights):
    qml.AmplitudeEmbedding(inputs, wires=range(2), normalize=True, pad_with=0.5)
    qml.RX(weights[0], wires=0)
    qml.IsingXY(weights[1], wires=[0, 1])
    return [qml.expval(qml.Y(0) @ qml.Z(1))]


@pytest.mark.parametrize("function", [tanh_angles, amplitudes])
def test_heads_side_by_side_are_heads_one_by_one(function):
    n_inputs = 2 if function is tanh_angles else 3
    compiled = compile_circuit(function, {"weights": (2,)}, n_inputs)
    inputs, weights = draw(3, 4, n_inputs), draw(3, 2, seed=2)

    def one_by_one(inputs, weights):
        return torch.stack([compiled(x, compiled.split(w)) for x, w in zip(inputs, weights, strict=True)])

    found = differentiated(compiled.heads, inputs, weights)
    for seen, expected in zip(found, differentiated(one_by_one, inputs, weights), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10)
    values, memory = compiled.forward(inputs.numpy(), weights.numpy())
    upstream = np.linspace(-1, 1, values.size).reshape(values.shape)
    for seen, expected in zip((values, *compiled.backward(memory, upstream)), found, strict=True):
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_wires", [3, 13])
def test_the_first_comparison_asks_lightning_for_whole_jacobians_on_few_wires_alone(n_wires):
    def circuit(inputs, weights):
        for wire in range(n_wires):
            qml.RY(inputs[..., wire % 2] * weights[wire], wires=wire)
        return [qml.expval(qml.Z(wire)) for wire in range(n_wires)]

    device = qml.device("lightning.qubit", wires=n_wires)
    compiled = compile_circuit(qml.QNode(circuit, device), {"weights": (n_wires,)}, 2)
    with qml.Tracker(device) as tracker:
        assert compiled.simulator == "lightning"
    assert ("derivatives" in tracker.totals, "vjps" in tracker.totals) == (n_wires == 3, n_wires == 13)


@pytest.mark.parametrize("c_dtype", ["complex64", "complex128"])
def test_large_coefficients_are_no_difference(c_dtype):
    def circuit(inputs, weights):
        qml.RX(inputs[..., 0], wires=0)
        qml.RY(weights[0], wires=0)
        return [qml.expval(1e15 * qml.Z(0)), qml.expval(1e18 * (qml.X(0) + qml.Y(0)))]

    compiled = compile_circuit(circuit, {"weights": (1,)}, 1, c_dtype=c_dtype)
    inputs, weights = draw(4, 1).float(), draw(1).float()
    values = compiled(inputs, {"weights": weights})
    assert compiled.fallback_reason is None
    x, w = inputs[:, 0].double(), weights.double()
    z, sum_xy = x.cos() * w.cos(), x.cos() * w.sin() - x.sin()
    expected = torch.stack([1e15 * z, 1e18 * sum_xy], dim=1)
    np.testing.assert_allclose(values / expected.abs().amax(dim=0), expected / expected.abs().amax(dim=0), atol=1e-5)


def arcsines(inputs, weights):
    # K. Mitarai et al., Phys. Rev. A 98, 032309 (2018), equation 7: inputs from -1 to 1.
    for wire in range(4):
        qml.RY(torch.asin(inputs[..., wire]), wires=wire)
        qml.RZ(torch.acos(inputs[..., wire] ** 2), wires=wire)
    qml.StronglyEntanglingLayers(weights[None, :, :3], wires=range(4))
    return qml.probs(op=qml.X(0) @ qml.Y(1))


def pooling(inputs, weights):
    # I. Cong et al., Nature Physics 15, 1273 (2019): measured wires control what acts on their neighbours.
    qml.AngleEmbedding(inputs, wires=range(4))
    for wire in (0, 2):
        qml.cond(qml.measure(wire), qml.U3)(*weights[wire, :3], wires=wire + 1)
    qml.CRX(weights[1, 0], wires=[1, 3])
    again = qml.measure(1, reset=True)
    qml.cond(~again, qml.RY)(weights[1, 1], wires=1)
    return qml.probs(wires=[3, 1])


def swap_test(inputs, weights):
    qml.Hadamard(0)
    qml.AmplitudeEmbedding(inputs, wires=[1, 2], normalize=True)
    qml.StatePrep(weights[0] / torch.linalg.norm(weights[0]), wires=[3, 4])
    qml.SpecialUnitary(weights.reshape(-1)[1:], wires=[1, 2])
    qml.CSWAP([0, 1, 3])
    qml.CSWAP([0, 2, 4])
    qml.Hadamard(0)
    return qml.probs(op=qml.Z(0))


@pytest.mark.parametrize("first", [torch.func.jacrev, lambda function: function])
def test_traced_angles_under_a_transform(first):
    # PennyLane's decomposition of CRX has fixed angles of the angle's own kind, which a transform wraps.
    def circuit(inputs, weights):
        qml.AngleEmbedding(torch.tanh(inputs), wires=range(2))
        qml.CRX(weights[0], wires=[0, 1])
        return qml.probs(wires=1)

    compiled, weights, x = compile_circuit(circuit, {"weights": (1,)}, 2), {"weights": draw(1)}, draw(3, 2)
    first(lambda rows: compiled(rows, weights))(x)
    found = torch.func.jacrev(lambda rows: compiled(rows, weights))(x)
    expected = torch.autograd.functional.jacobian(lambda rows: compiled(rows, weights), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert compiled.fallback_reason is None


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("circuit", [arcsines, pooling, swap_test])
def test_published_circuits(circuit, simulator):
    compiled = compile_circuit(circuit, {"weights": (4, 4)}, 4, simulator=simulator)
    inputs, weights = draw(5, 4).sigmoid(), draw(4, 4)
    found = differentiated(lambda x, w: compiled(x, {"weights": w}), inputs, weights)
    qnode = qml.QNode(circuit, qml.device("default.qubit"), interface="torch")
    for seen, expected in zip(found, differentiated(qnode, inputs, weights), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10)
    assert compiled.fallback_reason is None


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (lambda: qml.expval(qml.Z(qml.measure(0, postselect=1).wires[0])), "it keeps one outcome"),
        (lambda: [qml.probs(op=qml.X(0)), qml.expval(qml.Z(0))], "it measures probs.X.0.. beside others"),
        (lambda: qml.expval(qml.measure(0)), "expval and probs of wires run fast"),
    ],
)
def test_measurements_that_do_not_run_fast(measure, reason):
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs * weights[0], wires=range(1))
        return measure()

    compiled = compile_circuit(circuit, {"weights": (1,)}, 1)
    with pytest.warns(RuntimeWarning, match=reason):
        assert compiled.simulator == "qnode"


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("trained", [(), ("inputs",), ("weights",)])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_traced_angles_need_no_gradient(simulator, trained, mode):
    rows, weights = draw(5, 2).requires_grad_("inputs" in trained), draw(2).requires_grad_("weights" in trained)
    compiled = compile_circuit(tanh_angles, {"weights": 2}, 2, simulator=simulator)
    with mode():
        values = compiled(rows, {"weights": weights})
        many = compiled.heads(rows[None], weights[None])[0]
    assert compiled.fallback_reason is None
    assert compiled.program.polynomials is None
    by_qnode = compile_circuit(tanh_angles, {"weights": 2}, 2, simulator="qnode")(rows, {"weights": weights})
    for seen in (values, many):
        np.testing.assert_allclose(seen.detach(), by_qnode.detach(), rtol=0, atol=1e-12)
        assert seen.requires_grad == (bool(trained) and mode is torch.enable_grad)


def test_coefficients_are_those_of_the_angles():
    def circuit(inputs, weights):
        qml.RX(0.5 + 2 * inputs[..., 0] * weights[1], wires=0)
        qml.RY(3 * weights[0] - 1, wires=0)
        return qml.expval(qml.Z(0))

    polynomials = compile_circuit(circuit, {"weights": (2,)}, 1).program.polynomials
    constants, linear, pairs, products = polynomials.coefficients("batched")
    np.testing.assert_allclose(constants, [0.5])
    assert not linear.any()
    assert pairs.tolist() == [[0, 2]]
    np.testing.assert_allclose(products, [[2]])
    constants, linear, pairs, _ = polynomials.coefficients("shared")
    np.testing.assert_allclose(constants, [-1])
    np.testing.assert_allclose(linear, [[0, 3, 0]])
    assert not len(pairs)


def entangling(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3))
    qml.StronglyEntanglingLayers(weights, wires=range(3))
    return [qml.expval(qml.Z(wire)) for wire in range(3)]


def test_dense_and_lightning_end_a_training_at_the_same_weights():
    targets, inputs = torch.tanh(draw(24, 3, seed=5)), draw(24, 3, seed=4)
    trained = []
    for simulator in ("lightning", "dense"):
        compiled = compile_circuit(entangling, {"weights": (2, 3, 3)}, 3, simulator=simulator)
        weights = draw(2, 3, 3, seed=6).requires_grad_()
        optimiser = torch.optim.Adam([weights], lr=0.05)
        losses = []
        for _ in range(30):
            optimiser.zero_grad()
            loss = (compiled(inputs, {"weights": weights}) - targets).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        trained.append(weights.detach())
    torch.testing.assert_close(*trained, rtol=0, atol=1e-4)


def test_a_pickled_circuit_traces_itself_again():
    compiled = compile_circuit(Circuit(n_qubits=3, depth=2), {"weights": (6,)}, 3)
    x, w = draw(4, 3), {"weights": draw(6, seed=2)}
    torch.testing.assert_close(pickle.loads(pickle.dumps(compiled))(x, w), compiled(x, w))


def test_a_circuit_of_other_arguments_is_refused():
    with pytest.raises(ValueError, match="it must take inputs and the weights"):
        compile_circuit(lambda features, weights: None, {"weights": (2,)}, 2)  # noqa: ARG005
    with pytest.raises(ValueError, match="choose one of lightning, qnode, dense"):
        compile_circuit(entangling, {"weights": (2, 3, 3)}, 3, simulator="fast")


@pytest.mark.parametrize("simulator", ["lightning", "qnode"])
def test_a_qnode_without_gradients_of_a_batch(simulator):
    # Lightning has no adjoint derivatives of probabilities, and parameter-shift takes no batch (pennylane#4462).
    @qml.qnode(qml.device("lightning.qubit", wires=2))
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(2))
        qml.StronglyEntanglingLayers(weights, wires=range(2))
        return qml.probs(wires=range(2))

    compiled = compile_circuit(circuit, {"weights": (1, 2, 3)}, 2, simulator=simulator)
    inputs, weights = draw(3, 2).requires_grad_(), draw(1, 2, 3)
    (found,) = torch.autograd.grad(compiled(inputs, {"weights": weights}).square().sum(), inputs)
    reference = qml.QNode(circuit.func, qml.device("default.qubit", wires=2))
    (expected,) = torch.autograd.grad(reference(inputs, weights).square().sum(), inputs)
    assert compiled.simulator == simulator
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_a_qnode_written_for_one_sample_is_not_given_batches():
    def circuit(inputs, weights):
        for wire in range(2):
            qml.RX(inputs[wire] * weights[wire], wires=wire)
        qml.BitFlip(0.1, wires=0)
        return [qml.expval(qml.Z(wire)) for wire in range(2)]

    compiled = compile_circuit(circuit, {"weights": (2,)}, 2, device="default.mixed")
    with pytest.warns(RuntimeWarning, match="it has the channel BitFlip"):
        assert not compiled.takes_batches
    # Two samples of two inputs: a row of the batch has the shape of a column.
    x, w = draw(2, 2), draw(2, seed=2)
    expected = torch.cos(x * w) * torch.tensor([0.8, 1.0], dtype=torch.float64)
    torch.testing.assert_close(compiled(x, {"weights": w}), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_qubits", [2, 5])
def test_a_dense_form_of_other_values_is_not_used(n_qubits, monkeypatch):
    circuit = Circuit(n_qubits=n_qubits, depth=1)
    compiled = compile_circuit(circuit, {"weights": (circuit.n_weights,)}, n_qubits)
    inputs, weights = draw(4, n_qubits), draw(circuit.n_weights)
    expected = compiled(inputs, {"weights": weights})
    measure = Dense._measure
    monkeypatch.setattr(Dense, "_measure", lambda self, states: 1.001 * measure(self, states))
    with pytest.warns(RuntimeWarning, match="because its form in torch's operations has other values or gradients"):
        found = compiled.heads(inputs[None], weights[None])[0]
    torch.testing.assert_close(found, expected)
    assert compiled.simulator == "qnode"
