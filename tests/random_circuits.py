"""Random quantum functions of the gates that run in batches, and what an ordinary QNode says about them."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import torch

SINGLE = ("RX", "RY", "RZ", "PhaseShift", "U1")
DOUBLE = ("IsingXX", "IsingYY", "IsingZZ", "CRX", "CRY", "CRZ", "ControlledPhaseShift", "SingleExcitation")
FIXED = {
    1: ("Hadamard", "PauliX", "PauliY", "PauliZ", "S", "T", "SX"),
    2: ("CNOT", "CZ", "CY", "SWAP", "ISWAP"),
    3: ("Toffoli", "CSWAP"),
}
MEASUREMENTS = ("z", "word", "sum", "hermitian", "probs", "marginal")


class RandomCircuit:
    """A quantum function of ``inputs`` (…, n_inputs) and ``weights`` (n_weights,), drawn from a seed.

    Args:
        seed: Of everything.
        n_wires: Wires.
        n_gates: Gates.
        polynomial: Whether every angle is a polynomial of degree 2 or less.
    """

    def __init__(self, seed: int, n_wires: int, n_gates: int = 14, polynomial: bool = True) -> None:
        self.n_wires, self.n_inputs, self.n_weights = n_wires, n_wires + 1, 5
        self._seed, self._n_gates, self._polynomial = seed, n_gates, polynomial

    @property
    def weight_shapes(self):
        return {"weights": (self.n_weights,)}

    def __call__(self, inputs, weights):
        rng = np.random.default_rng(self._seed)
        if rng.random() < 0.5:
            for wire in range(self.n_wires):
                qml.RY(inputs[..., wire], wires=wire)
        for _ in range(self._n_gates):
            self._gate(rng, inputs, weights)
        return [self._measurement(rng) for _ in range(1 + rng.integers(3))]

    def _angle(self, rng, inputs, weights):
        x, w = inputs[..., rng.integers(self.n_inputs)], weights[rng.integers(self.n_weights)]
        kind = rng.choice(["w", "w", "w", "x", "x", "affine", "product", "square", "constant"])
        if not self._polynomial and rng.random() < 0.3:
            return torch.tanh(x) * w
        return {
            "w": w,
            "x": x,
            "affine": 0.3 + 2 * x - w,
            "product": x * w,
            "square": w * weights[0],
            # A tensor, because PennyLane's decompositions mix others with NumPy's numbers, which warns.
            "constant": torch.tensor(0.7, dtype=torch.float64),
        }[kind]

    def _gate(self, rng, inputs, weights):
        wires = [int(w) for w in rng.permutation(self.n_wires)]
        kinds = ["rotation", "rotation", "rot", "fixed", "double", "multi", "controlled", "adjoint", "unitary"]
        kind = rng.choice(kinds)
        angle = self._angle(rng, inputs, weights)
        if kind == "double" and self.n_wires > 1:
            getattr(qml, rng.choice(DOUBLE))(angle, wires=wires[:2])
        elif kind == "multi" and self.n_wires > 1:
            k = rng.integers(2, min(3, self.n_wires) + 1)
            qml.PauliRot(angle, "".join(rng.choice(list("XYZ"), k)), wires=wires[:k])
        elif kind == "controlled" and self.n_wires > 2:
            qml.ctrl(qml.RY(angle, wires=wires[0]), control=wires[1:3], control_values=[0, 1])
        elif kind == "fixed":
            k = min(int(rng.choice([1, 1, 2, 2, 3])), self.n_wires)
            getattr(qml, rng.choice(FIXED[k]))(wires=wires[:k])
        elif kind == "rot":
            qml.Rot(angle, self._angle(rng, inputs, weights), torch.tensor(0.4, dtype=torch.float64), wires=wires[0])
        elif kind == "adjoint":
            qml.adjoint(qml.PhaseShift)(angle, wires=wires[0])
        elif kind == "unitary":
            k = min(2, self.n_wires)
            qml.QubitUnitary(random_unitary(rng, 2**k), wires=wires[:k])
        else:
            getattr(qml, rng.choice(SINGLE))(angle, wires=wires[0])

    def _measurement(self, rng):
        wires = [int(w) for w in rng.permutation(self.n_wires)]
        kind = rng.choice(MEASUREMENTS)
        if kind == "probs":
            return qml.probs(wires=range(self.n_wires))
        if kind == "marginal":
            return qml.probs(wires=wires[: max(1, self.n_wires - 1)])
        if kind == "hermitian":
            matrix = random_unitary(rng, 4 if self.n_wires > 1 else 2)
            return qml.expval(qml.Hermitian(matrix + matrix.conj().T, wires=wires[: 2 if self.n_wires > 1 else 1]))
        if kind == "z":
            return qml.expval(qml.Z(wires[0]))
        letters = [qml.X, qml.Y, qml.Z]
        word = letters[rng.integers(3)](wires[0])
        if self.n_wires > 1:
            word = word @ letters[rng.integers(3)](wires[1])
        if kind == "word":
            return qml.expval(word)
        return qml.expval(qml.Hamiltonian([0.3, -1.2], [word, qml.Z(wires[-1])]))


def random_unitary(rng, size):
    matrix = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    return np.linalg.qr(matrix)[0]


def by_qnode(circuit, inputs, weights, upstream, diff_method="backprop"):
    """Values, and gradients of inputs and weights, of an ordinary QNode on default.qubit."""
    inputs, weights = (torch.from_numpy(a).requires_grad_() for a in (inputs, weights))
    device = qml.device("default.qubit", wires=circuit.n_wires)
    qnode = qml.QNode(circuit, device, interface="torch", diff_method=diff_method)
    if diff_method == "backprop" and _has_samples(circuit, inputs):
        results = [result.reshape(len(inputs), -1) for result in qnode(inputs=inputs, weights=weights)]
        values = torch.cat(results, dim=1)
    else:
        rows = [torch.cat([r.reshape(-1) for r in qnode(inputs=row, weights=weights)]) for row in inputs]
        values = torch.stack(rows)
    if not values.requires_grad:
        return values.numpy(), np.zeros(tuple(inputs.shape)), np.zeros(tuple(weights.shape))
    gradients = torch.autograd.grad(values, (inputs, weights), torch.from_numpy(upstream), materialize_grads=True)
    return values.detach().numpy(), *(g.numpy() for g in gradients)


def _has_samples(circuit, inputs):
    with qml.queuing.AnnotatedQueue() as queue:
        circuit(inputs=inputs, weights=torch.zeros(circuit.n_weights, dtype=torch.float64))
    return qml.tape.QuantumScript.from_queue(queue).batch_size is not None
