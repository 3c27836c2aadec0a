"""Adjoint differentiation of a whole batch as one circuit on lightning.qubit.

In: angles of shape (B, n_qubits) and the circuit's weights. Out: ⟨Z⟩ of every wire and sample, and, given the gradient
of a loss with respect to these, its gradients with respect to angles and weights. NumPy arrays throughout.

The circuit behind the embedding, U, is the same for every sample, so one register evolves all samples at once: further
wires behind the data wires number the samples. Amplitude s of sample b is entry (s, b) of a matrix of shape (2ⁿ, B).
States need not have norm 1, because everything is linear. With more than 2ⁿ samples the register computes U itself,
from the 2ⁿ unit vectors, and a batch then costs one matrix product each way.

Backward, with upstream gradient g, the loss behaves as the expectation value of the diagonal observable
h_b(s) = Σᵢ g_bi zᵢ(s). With Φ the output states and λ = h ∘ Φ, and both run backwards through the circuit, the
derivative with respect to a rotation exp(-iθP/2) is Im⟨λ|P|Φ⟩ at that gate: one pass gives every weight's derivative.
Where every gate is real, so are Φ and λ, and Φ + iλ goes backwards in one register; ⟨λ|Y|Φ⟩ is then the imaginary part
of ⟨χ₀|χ₁⟩ between the halves of χ = Φ + iλ where the wire is 0 and where it is 1.

Source of adjoint differentiation: T. Jones, J. Gacon, arXiv:2009.02823.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.quantum.circuit import (
    Circuit,
    RotationGroup,
    is_real,
    rotation_groups,
    variational_gates,
)
from pipeline.quantum.lightning import Register
from pipeline.quantum.mari.derivatives import PackedDerivatives, rotation_derivative
from pipeline.quantum.mari.embedding import Embedding, ProductStates
from pipeline.quantum.matrices import ZReadout

BLOCK = 2**16
"""Amplitudes in the register at once: 1 MiB of complex128, which fits into a core's own cache."""
KEEP = 2**20
"""Amplitudes kept for the backward pass; samples beyond these are computed again."""


@dataclass(frozen=True)
class AdjointMemory:
    """Memory of ``BatchedAdjoint.forward`` for ``backward``."""

    angles: np.ndarray
    weights: list[list[float]]
    unitary: np.ndarray | None
    states: list[tuple[ProductStates, np.ndarray] | None]


class BatchedAdjoint:
    """Expectation values and gradients of one circuit for batches of angles. Get it from ``batched_adjoint``.

    Args:
        circuit: The circuit; its gates are read off its tape.
        c_dtype: ``complex128`` or ``complex64``, the precision of the states.
    """

    def __init__(self, circuit: Circuit, c_dtype: str = "complex128") -> None:
        self.n_qubits = circuit.n_qubits
        self.n_weights = circuit.n_weights
        self._gates = variational_gates(circuit)
        self._is_real = is_real(circuit)
        self._c_dtype = np.dtype(c_dtype)
        self._r_dtype = np.dtype("float64" if c_dtype == "complex128" else "float32")
        self._dtype = self._r_dtype if self._is_real else self._c_dtype
        self._embedding = Embedding(circuit, self._r_dtype.name)
        self._groups = rotation_groups(self._gates)
        self._signs = ZReadout(self.n_qubits, self._r_dtype)
        self._derivatives = PackedDerivatives(self.n_qubits)
        # For each rotation its weight, and its place in a table of groups, last group first, by wires.
        places = [(k, g.wires[0], g.weight) for k, group in enumerate(reversed(self._groups)) for g in group.rotations]
        ranks, wires, self._weight_of = np.array(places, dtype=int).reshape(-1, 3).T
        self._rotation_at = (ranks, wires)
        self._local = threading.local()

    def forward(
        self, angles: np.ndarray, weights: np.ndarray, keep: bool = True
    ) -> tuple[np.ndarray, AdjointMemory | None]:
        """Expectation values of Z.

        Args:
            angles: Shape (B, n_qubits), in radians, finite.
            weights: Shape (n_weights,), in radians, finite.
            keep: Whether ``backward`` will follow; without it nothing is kept.

        Returns:
            ⟨Z⟩ of shape (B, n_qubits), float64 or float32 with the precision of the states, and the memory for
            ``backward``, or None.
        """
        angles = angles.astype(self._r_dtype, copy=False)
        n_samples = len(angles)
        values = np.empty((n_samples, self.n_qubits), dtype=self._r_dtype)
        weight_lists = [[weight] for weight in weights.tolist()]
        unitary = None
        if n_samples > 2**self.n_qubits:
            unitary = self._evolve(np.eye(2**self.n_qubits, dtype=self._dtype), weight_lists)
        states: list[tuple[ProductStates, np.ndarray] | None] = []
        kept = 0
        for chunk in self._chunks(n_samples):
            inputs = self._embedding.load(angles[chunk])
            outputs = self._propagate(inputs.states, weight_lists, unitary)
            values[chunk] = self._signs.expectation(_probabilities(outputs))
            kept += outputs.size
            states.append((inputs, outputs) if keep and kept <= KEEP else None)
        return values, AdjointMemory(angles, weight_lists, unitary, states) if keep else None

    def backward(
        self, memory: AdjointMemory, upstream: np.ndarray, need_angles: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of a loss from its gradient with respect to the expectation values.

        Args:
            memory: What ``forward`` kept.
            upstream: Shape (B, n_qubits).
            need_angles: Whether the first result is wanted.
            need_weights: Whether the second result is wanted.

        Returns:
            The gradients with respect to angles (B, n_qubits) and weights (n_weights,); None where not wanted.
        """
        weights, unitary = memory.weights, memory.unitary
        upstream = upstream.astype(self._r_dtype, copy=False)
        angle_gradient = np.empty(upstream.shape, dtype=self._r_dtype) if need_angles else None
        weight_gradient = np.zeros(self.n_weights, dtype=self._r_dtype) if need_weights else None
        adjoint_unitary = np.zeros_like(unitary) if unitary is not None else np.zeros(0)
        for chunk, states in zip(self._chunks(len(upstream)), memory.states, strict=True):
            if states is None:
                inputs = self._embedding.load(memory.angles[chunk])
                outputs = self._propagate(inputs.states, weights, unitary)
            else:
                inputs, outputs = states
            adjoint = self._signs.observable(upstream[chunk]) * outputs
            start: np.ndarray | None
            if unitary is not None:
                if need_weights:
                    adjoint_unitary += adjoint @ inputs.states.conj().T
                start = unitary.conj().T @ adjoint if need_angles else None
            elif weight_gradient is not None:
                start = self._reverse(outputs, adjoint, weights, weight_gradient, need_angles)
            else:
                start = self._evolve(adjoint, weights, inverse=True)
            if angle_gradient is not None and start is not None:
                angle_gradient[chunk] = inputs.gradient(start)
        if weight_gradient is not None and unitary is not None:
            self._reverse(unitary, adjoint_unitary, weights, weight_gradient, need_start=False)
        return angle_gradient, weight_gradient

    def _chunks(self, n_samples: int) -> list[slice]:
        """Samples that go through the circuit together: as many as fill one block."""
        size = max(2, BLOCK >> self.n_qubits)
        return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]

    def _propagate(self, states: np.ndarray, weights: list[list[float]], unitary: np.ndarray | None) -> np.ndarray:
        return self._evolve(states, weights) if unitary is None else unitary @ states

    def _evolve(self, states: np.ndarray, weights: list[list[float]], inverse: bool = False) -> np.ndarray:
        """U (or its inverse) applied to the columns of ``states``, of shape (2ⁿ, columns)."""
        dim, n_columns = states.shape
        result = np.empty_like(states)
        width = self._width(n_columns, at_least=2 if self._is_real else 1)
        # Two real columns are stored as one complex column, which halves the register.
        workspace = self._workspace(width // 2 if self._is_real else width)
        for first in range(0, n_columns, width):
            columns = slice(first, min(first + width, n_columns))
            whole = columns == slice(0, width) and n_columns == width
            block = result if whole else np.zeros((dim, width), dtype=self._dtype)
            block[:, : columns.stop - first] = states[:, columns]
            register = workspace.register
            register.load(block.reshape(-1).view(self._c_dtype))
            if inverse:
                register.undo(weights)
            else:
                register.apply(weights)
            register.read(block.reshape(-1).view(self._c_dtype))
            if not whole:
                result[:, columns] = block[:, : columns.stop - first]
        return result

    def _reverse(
        self,
        outputs: np.ndarray,
        adjoint: np.ndarray,
        weights: list[list[float]],
        weight_gradient: np.ndarray,
        need_start: bool,
    ) -> np.ndarray | None:
        """Run outputs Φ and adjoint states λ, both of shape (2ⁿ, columns), back through the circuit.

        Adds to ``weight_gradient``; returns λ at the start of the circuit, of the same shape, or None.
        """
        dim, n_columns = outputs.shape
        start = np.empty_like(adjoint) if need_start else None
        width = self._width(n_columns)
        workspace = self._workspace(width)
        for first in range(0, n_columns, width):
            columns = slice(first, min(first + width, n_columns))
            used = columns.stop - first
            if self._is_real:
                packed = np.zeros((dim, width), dtype=self._c_dtype)
                packed.real[:, :used] = outputs[:, columns]
                packed.imag[:, :used] = adjoint[:, columns]
                self._reverse_packed(workspace, packed, weights, weight_gradient, need_start)
                if start is not None:
                    start[:, columns] = packed.imag[:, :used]
            else:
                pair = np.zeros((2, dim, width), dtype=self._c_dtype)
                pair[0, :, :used] = outputs[:, columns]
                pair[1, :, :used] = adjoint[:, columns]
                self._reverse_pair(workspace, pair, weights, weight_gradient)
                if start is not None:
                    start[:, columns] = pair[1, :, :used]
        return start

    def _reverse_packed(
        self,
        workspace: _Workspace,
        packed: np.ndarray,
        weights: list[list[float]],
        weight_gradient: np.ndarray,
        need_start: bool,
    ) -> None:
        """The reverse pass of χ = Φ + iλ, of shape (2ⁿ, width); at the end χ is that at the circuit's start."""
        register, history = workspace.register, workspace.history
        derivatives = np.empty((len(self._groups), self.n_qubits))
        register.load(packed.reshape(-1))
        stop = len(self._gates)
        for done, group in enumerate(reversed(self._groups), start=1):
            register.undo(weights, group.stop, stop)
            stop = group.stop
            used = (done - 1) % len(history) + 1
            register.read(history[used - 1].reshape(-1))
            if used == len(history) or done == len(self._groups):
                derivatives[done - used : done] = self._derivatives(history[:used])
        weight_gradient += np.bincount(self._weight_of, derivatives[self._rotation_at], self.n_weights)
        if need_start:
            register.undo(weights, 0, stop)
            register.read(packed.reshape(-1))

    def _reverse_pair(
        self, workspace: _Workspace, pair: np.ndarray, weights: list[list[float]], weight_gradient: np.ndarray
    ) -> None:
        """The reverse pass of Φ and λ, of shape (2, 2ⁿ, width), one after the other between two groups of rotations."""
        register = workspace.register
        stop = len(self._gates)
        for group in [*reversed(self._groups), RotationGroup(0, 0, ())]:
            for states in pair:
                register.load(states.reshape(-1))
                register.undo(weights, group.stop, stop)
                register.read(states.reshape(-1))
            stop = group.stop
            for gate in group.rotations:
                weight_gradient[gate.weight] += rotation_derivative(gate.name, pair[1], pair[0], gate.wires[0])

    def _width(self, n_columns: int, at_least: int = 1) -> int:
        """Columns that go through the register at once: a power of two, at most a block."""
        return max(at_least, min(1 << (n_columns - 1).bit_length(), BLOCK >> self.n_qubits))

    def _workspace(self, width: int) -> _Workspace:
        # One register a thread, because a pass leaves its state there between two calls.
        workspaces = self._local.__dict__
        key = str(width)
        if key not in workspaces:
            n_wires = self.n_qubits + width.bit_length() - 1
            length = max(1, min(len(self._groups), BLOCK >> n_wires))
            workspaces[key] = _Workspace(
                Register(self._gates, n_wires, self._c_dtype.name),
                np.empty((length, 2**self.n_qubits, width), dtype=self._c_dtype),
            )
        return workspaces[key]


@lru_cache(maxsize=16)
def batched_adjoint(circuit: Circuit, c_dtype: str = "complex128") -> BatchedAdjoint:
    """The one ``BatchedAdjoint`` of a circuit and precision in this process."""
    return BatchedAdjoint(circuit, c_dtype)


def required_bytes(n_qubits: int, c_dtype: str) -> int:
    """A rough lower bound on the memory of one batch: a dozen states."""
    return 12 * np.dtype(c_dtype).itemsize * 2**n_qubits


@dataclass(frozen=True)
class _Workspace:
    register: Register
    history: np.ndarray


def _probabilities(states: np.ndarray) -> np.ndarray:
    return states.real**2 + states.imag**2 if np.iscomplexobj(states) else states * states
