"""What is diagnosed: a circuit, how its weights and inputs are drawn, and the layer that reads its outputs.

In: a circuit bound to its sizes, or a trained head. Out: a ``Subject``, which gives states, values and gradients of
many sets of weights at once: each is one of many heads of the engine, with a batch of one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pennylane as qml
import torch
from torch import nn

from features.util.errors import first_line
from pipeline.heads.base import QUARTER_TURN
from pipeline.heads.bound import BoundCircuit, circuit_of_source, read_source
from pipeline.heads.dressed import DressedQuantumNet, compiled_circuit
from pipeline.heads.registry import HeadConfig, new_head
from pipeline.quantum.choices import Entangler
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.circuits import embeds_amplitudes
from pipeline.quantum.compiled import CompiledCircuit
from pipeline.quantum.program.tape import UnsupportedError

CHUNK = 1 << 20
"""Amplitudes of the states that go through a circuit at once."""


class NotDefinedError(ValueError):
    """A diagnostic that is not defined for a circuit; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A circuit and its inputs.

    Attributes:
        name: As it was asked for.
        circuit: The quantum function of inputs and flat weights.
        compiled: The same, compiled.
        known_inputs: Rows to draw inputs from, (N, n_inputs); None to draw them at random.
        post_net: What makes logits of the outputs; None if the outputs are the logits.
        trained: The trained weights, (n_weights,); None of a circuit that is not trained.
    """

    name: str
    circuit: Circuit | BoundCircuit
    compiled: CompiledCircuit
    known_inputs: np.ndarray | None = None
    post_net: nn.Module | None = None
    trained: np.ndarray | None = None

    @property
    def n_weights(self) -> int:
        """Weights of the circuit."""
        return self.compiled.n_weights

    @property
    def n_wires(self) -> int:
        """Wires; of a circuit that can't be traced as many as were asked for."""
        return self.compiled.n_wires or self.circuit.n_qubits

    def draw_weights(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Angles from a full turn, uniformly, (count, n_weights)."""
        return random.uniform(-np.pi, np.pi, (count, self.n_weights))

    def draw_inputs(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Inputs of shape (count, n_inputs): known rows, angles of a quarter turn at most, or random amplitudes."""
        if self.known_inputs is not None:
            rows = len(self.known_inputs)
            places = random.permutation(rows)[:count] if count <= rows else random.integers(rows, size=count)
            return self.known_inputs[places]
        shape = (count, self.compiled.n_inputs)
        if isinstance(self.circuit, BoundCircuit) and embeds_amplitudes(self.circuit.name):
            return random.normal(size=shape)
        return random.uniform(-QUARTER_TURN, QUARTER_TURN, shape)

    def values(self, inputs: np.ndarray, weights: np.ndarray) -> Iterator[np.ndarray]:
        """Outputs (heads, B, n_outputs) of inputs (B, n_inputs) by each of the weights (all heads, n_weights): as many
        heads at once as fit."""
        for part in self._chunks(weights, len(inputs)):
            repeated = np.repeat(inputs[None], len(part), axis=0)
            yield self.compiled.forward(repeated, part.copy(), keep=False)[0]

    def gradients(self, inputs: np.ndarray, weights: np.ndarray, upstream: np.ndarray) -> Iterator[np.ndarray]:
        """Derivatives of outputs by the weights, sample by sample, (count, n_weights) each.

        Args:
            inputs: Shape (count, n_inputs).
            weights: Shape (count, n_weights): each sample has weights of its own.
            upstream: Combinations of outputs, (k, n_outputs); one array is yielded for each.
        """
        together = np.concatenate([inputs, weights], axis=1)
        found: list[list[np.ndarray]] = [[] for _ in upstream]
        for part in self._chunks(together, 1):
            own_inputs, own_weights = np.split(part, [inputs.shape[1]], axis=1)
            _, memory = self.compiled.forward(own_inputs[:, None].copy(), own_weights.copy())
            for each, row in zip(found, upstream, strict=True):
                wanted = np.repeat(row[None, None], len(part), axis=0)
                gradient = self.compiled.backward(memory, wanted, need_inputs=False)[1]
                assert gradient is not None
                each.append(gradient)
        return (np.concatenate(parts) for parts in found)

    def states(self, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """States (count, 2ⁿ) behind all gates, of inputs (count, n_inputs) and weights (count, n_weights).

        Raises:
            NotDefinedError: If the circuit leaves no pure state.
        """
        try:
            together = np.concatenate([inputs, weights], axis=1)
            parts = []
            for part in self._chunks(together, 1):
                own = [torch.from_numpy(array.copy()) for array in np.split(part, [inputs.shape[1]], axis=1)]
                states = self.compiled.states(own[0][:, None], own[1])[:, :, 0]
                parts.append(states.expand(len(part), -1).numpy())
            return np.concatenate(parts)
        except UnsupportedError:
            return self._pennylane_states(inputs, weights)

    def _pennylane_states(self, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The same by PennyLane's default.qubit, one after the other."""
        states = []
        for pair in zip(inputs, weights, strict=True):
            script = qml.tape.make_qscript(self.circuit)(*map(torch.from_numpy, pair))
            device = qml.device("default.qubit", wires=script.wires)
            whole = qml.tape.QuantumScript(script.operations, [qml.state()])
            try:
                (state,) = qml.execute([whole], device, diff_method=None)
            except Exception as error:  # the circuit is the user's own, and so is what it can't do
                raise NotDefinedError(f"it leaves no pure state ({first_line(error)})") from error
            states.append(np.asarray(state).reshape(-1))
        return np.stack(states)

    def _chunks(self, weights: np.ndarray, n_samples: int) -> Iterator[np.ndarray]:
        """As many heads at once as fit."""
        size = max(1, CHUNK // (n_samples << self.n_wires))
        return (weights[start : start + size] for start in range(0, len(weights), size))


def subject_named(name: str, qubits: int, depth: int, entangler: str, source: str | None = None) -> Subject:
    """A circuit as ``--circuit`` names it, of given sizes.

    Args:
        name: A name, or ``my_circuit.py:name``.
        qubits: Wires.
        depth: Layers.
        entangler: Of ``mari``.
        source: The recorded text of the circuit's file; the file is read if None.

    Raises:
        FlagError: If there is no such circuit, it can't be of these sizes, or is too large for this machine.
    """
    config = HeadConfig(circuit=name, qubits=qubits, depth=depth, entangler=cast("Entangler", entangler))
    head = new_head(config, 2**qubits if embeds_amplitudes(name) else 1, 2, source)
    assert isinstance(head, DressedQuantumNet)
    return Subject(name=name, circuit=head.circuit, compiled=head.compiled)


def scales(name: str, qubits: int, depth: int, source: str | None = None) -> tuple[bool, bool]:
    """Whether the weights of a circuit change with the number of qubits, and with the depth.

    In a file their shapes may be fixed. They are looked at without a trace, which fails at a size that is not theirs.
    """
    if ":" not in name:
        return True, True
    text = read_source(name) if source is None else source
    sizes = ((qubits, depth), (qubits + 1, depth), (qubits, depth + 1))
    own, wider, deeper = (circuit_of_source(text, name, *size).n_weights for size in sizes)
    return own != wider, own != deeper


def subject_of_head(name: str, head: DressedQuantumNet, features: torch.Tensor) -> Subject:
    """The circuit of a trained head, with its inputs for these rows, (N, n_features), and its trained weights."""
    with torch.no_grad():
        inputs = head.angles(features).double().numpy()
    return Subject(
        name=name,
        circuit=head.circuit,
        compiled=compiled_circuit(head.circuit, "lightning", "default.qubit", "complex128"),
        known_inputs=inputs,
        post_net=copy.deepcopy(head.post_net).double(),
        trained=head.q_params.detach().double().numpy(),
    )
