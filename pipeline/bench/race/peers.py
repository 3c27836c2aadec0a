"""The peers in JAX: the same head in TensorCircuit-NG, and written by hand in dense array operations.

``python peers.py NAME`` is the process of one peer; see ``worker.py``. It runs under the peers' own interpreter, with
tensorcircuit-ng, jax and optax and without torch, PennyLane and the rest of this package: hence the plain import of its
neighbour. Every state is complex64 or float32, the default of both.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

_THREADS = os.environ.get("OMP_NUM_THREADS", "1")
if _THREADS == "1":  # XLA reads this when it is imported; it knows one thread or all
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import tensorcircuit  # noqa: E402
from worker import ANY_CIRCUIT, LEARNING_RATE, Task, Work, serve  # noqa: E402

LIBRARIES = ("tensorcircuit-ng", "jax", "jaxlib", "optax", "numpy")
SCAN_STEPS = 61
"""Steps of an epoch of the packaged features, 244 samples in batches of 4."""
LARGEST_KRON = 6
"""Wires up to which the hand-written circuit multiplies by one matrix a layer; two smaller ones beyond."""

Parameters = dict[str, jax.Array]
Values = Callable[[jax.Array, jax.Array], jax.Array]


def tensorcircuit_values(qubits: int, depth: int) -> Values:
    """⟨Z⟩ of every wire, (batch, qubits), from angles (batch, qubits) and weights: TensorCircuit-NG under ``vmap``."""
    signs = _z_signs(qubits)

    def one_sample(angles: jax.Array, weights: jax.Array) -> jax.Array:
        circuit = tensorcircuit.Circuit(qubits)
        for wire in range(qubits):
            circuit.h(wire)
            circuit.ry(wire, theta=angles[wire])
        for layer in range(depth):
            for control in (*range(0, qubits - 1, 2), *range(1, qubits - 1, 2)):
                circuit.cnot(control, control + 1)
            for wire in range(qubits):
                circuit.ry(wire, theta=weights[layer * qubits + wire])
        # Faster, to compile and to run, than a contraction for each wire's expectation value.
        return signs @ jnp.abs(circuit.state()) ** 2

    return jax.vmap(one_sample, in_axes=(0, None))


def dense_values(qubits: int, depth: int) -> Values:
    """The same by hand: real states, entangler as a permutation, a layer's rotations as one or two matrices."""
    signs, order = _z_signs(qubits), _entangled_order(qubits, depth > 0)
    first = 0 if qubits <= LARGEST_KRON else qubits // 2

    def values(angles: jax.Array, weights: jax.Array) -> jax.Array:
        n_samples = len(angles)
        cos, sin = jnp.cos(angles / 2), jnp.sin(angles / 2)
        wires = jnp.stack([cos - sin, cos + sin], axis=-1) / np.sqrt(2)
        state = wires[:, 0]
        for wire in range(1, qubits):
            state = (state[:, :, None] * wires[:, wire, None, :]).reshape(n_samples, -1)
        half_cos, half_sin = jnp.cos(weights / 2), jnp.sin(weights / 2)
        rotations = jnp.stack([jnp.stack([half_cos, -half_sin], -1), jnp.stack([half_sin, half_cos], -1)], -2)
        for layer in rotations.reshape(depth, qubits, 2, 2):
            state = state[:, order]
            right = functools.reduce(jnp.kron, layer[first:])
            if first == 0:
                state = state @ right.T
            else:
                left = functools.reduce(jnp.kron, layer[:first])
                state = (left @ (state.reshape(n_samples, 2**first, -1) @ right.T)).reshape(n_samples, -1)
        return (state * state) @ signs.T

    return values


def any_circuit_values(kind: str, qubits: int, depth: int) -> Values:
    """⟨Z⟩ of every wire, (batch, qubits), of a circuit other than the paper's; see :class:`worker.Work`."""
    signs = _z_signs(qubits)

    def one_sample(angles: jax.Array, weights: jax.Array) -> jax.Array:
        circuit = tensorcircuit.Circuit(qubits)
        for layer in range(depth):
            for wire in range(qubits) if layer == 0 or kind == "reuploading" else ():
                circuit.ry(wire, theta=angles[wire])
            for wire in range(qubits):
                circuit.rz(wire, theta=weights[layer, wire, 0])
                circuit.ry(wire, theta=weights[layer, wire, 1])
                circuit.rz(wire, theta=weights[layer, wire, 2])
            if kind == "strongly_entangling":
                reach = layer % max(1, qubits - 1) + 1
                for control in range(qubits):
                    circuit.cnot(control, (control + reach) % qubits)
            else:
                for control in range(qubits - 1):
                    circuit.cnot(control, control + 1)
        return signs @ jnp.abs(circuit.state()) ** 2

    return jax.vmap(one_sample, in_axes=(0, None))


class LayerTask:
    """Forward and backward of a circuit in ``jax.jit``; of ``strongly_entangling`` with a step of Adam."""

    units = 1

    def __init__(self, work: Work) -> None:
        arrays = {name: jnp.asarray(array) for name, array in work.arrays().items()}
        self.angles, self.upstream, self.weights = arrays["angles"], arrays["upstream"], arrays["q_params"]
        self.values = any_circuit_values(work.kind, work.qubits, work.depth)
        self.optimizer = optax.adam(LEARNING_RATE) if work.kind == "strongly_entangling" else None
        self.state = self.optimizer.init(self.weights) if self.optimizer else None
        self.run = jax.jit(self._run)

    def __call__(self) -> Any:
        """Values and gradients."""
        found, self.weights, self.state = jax.block_until_ready(self.run(self.weights, self.state))
        return found

    def results(self, _first: Any, second: Any) -> dict[str, Any]:
        """See :class:`worker.Task`."""
        return dict(zip(("values", "q_params", "angles"), second, strict=False))

    def _run(self, weights: jax.Array, state: Any) -> tuple[Any, ...]:
        if self.optimizer is None:
            values, pull = jax.vjp(lambda w, x: self.values(x, w), weights, self.angles)
            return (values, *pull(self.upstream)), weights, state
        values, pull = jax.vjp(lambda w: self.values(self.angles, w), weights)
        (gradient,) = pull(self.upstream)
        updates, state = self.optimizer.update(gradient, state)
        return (values, gradient), optax.apply_updates(weights, updates), state


class StepTask:
    """A whole training step in ``jax.jit``; the first call compiles."""

    units = 1

    def __init__(self, work: Work, values: Values) -> None:
        arrays = {name: jnp.asarray(array) for name, array in work.arrays().items()}
        self.features, self.labels = arrays.pop("features"), arrays.pop("labels")
        self.parameters: Parameters = arrays
        self.loss = functools.partial(_loss, values)
        self.optimizer = optax.adam(LEARNING_RATE)
        self.state = self.optimizer.init(arrays)
        self.step = jax.jit(self._step)
        self.before = arrays

    def __call__(self) -> Any:
        """Logits from before the step."""
        self.before = self.parameters
        self.parameters, self.state, logits = self.step(self.parameters, self.state, self.features, self.labels)
        return jax.block_until_ready((logits, self.parameters))[0]

    def results(self, first: Any, second: Any) -> dict[str, Any]:
        """See :class:`worker.Task`; the gradients are compiled separately, because the step returns none."""
        gradients, _ = jax.jit(jax.grad(self.loss, has_aux=True))(self.before, self.features, self.labels)
        return {"logits": first, "logits_2": second} | gradients

    def _step(self, parameters: Parameters, state: Any, features: jax.Array, labels: jax.Array) -> tuple[Any, ...]:
        gradients, logits = jax.grad(self.loss, has_aux=True)(parameters, features, labels)
        updates, state = self.optimizer.update(gradients, state)
        return optax.apply_updates(parameters, updates), state, logits


class ScanTask(StepTask):
    """A whole epoch of steps in one ``lax.scan``, so that no step is launched from Python."""

    units = SCAN_STEPS

    def __init__(self, work: Work, values: Values) -> None:
        super().__init__(work, values)
        self.features = jnp.tile(self.features, (self.units, 1, 1))
        self.labels = jnp.tile(self.labels, (self.units, 1))
        self.step = jax.jit(self._epoch)

    def results(self, first: Any, _second: Any) -> dict[str, Any]:
        """See :class:`worker.Task`."""
        return {"logits": first[0], "logits_2": first[1]}

    def _epoch(self, parameters: Parameters, state: Any, features: jax.Array, labels: jax.Array) -> tuple[Any, ...]:
        def body(carry: tuple[Any, Any], batch: tuple[jax.Array, jax.Array]) -> tuple[tuple[Any, Any], jax.Array]:
            *carried, logits = self._step(*carry, *batch)
            return (carried[0], carried[1]), logits

        (parameters, state), logits = jax.lax.scan(body, (parameters, state), (features, labels))
        return parameters, state, logits


def _loss(values: Values, parameters: Parameters, features: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
    angles = jnp.tanh(features @ parameters["pre_net.weight"].T + parameters["pre_net.bias"]) * (np.pi / 2)
    logits = values(angles, parameters["q_params"]) @ parameters["post_net.weight"].T + parameters["post_net.bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


def _z_signs(qubits: int) -> np.ndarray:
    bits = np.arange(2**qubits) >> np.arange(qubits - 1, -1, -1)[:, None] & 1
    return (1 - 2 * bits).astype(np.float32)


def _entangled_order(qubits: int, entangled: bool) -> np.ndarray:
    """Which amplitude each basis state holds after the CNOTs of a layer."""
    order = np.arange(2**qubits)
    for control in (*range(0, qubits - 1, 2), *range(1, qubits - 1, 2)) if entangled else ():
        position = np.arange(2**qubits)
        flipped = position ^ (1 << (qubits - 2 - control))
        order = order[np.where(position >> (qubits - 1 - control) & 1, flipped, position)]
    return order


PEERS: dict[str, Callable[[Work], Task]] = {
    "tensorcircuit": lambda w: (
        LayerTask(w) if w.kind in ANY_CIRCUIT else StepTask(w, tensorcircuit_values(w.qubits, w.depth))
    ),
    "jax_dense": lambda w: StepTask(w, dense_values(w.qubits, w.depth)),
    "jax_dense_scan": lambda w: ScanTask(w, dense_values(w.qubits, w.depth)),
}


if __name__ == "__main__":
    tensorcircuit.set_backend("jax")
    serve(PEERS[sys.argv[1]], LIBRARIES)
