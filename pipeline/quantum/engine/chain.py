"""A circuit as a chain of fixed matrices and layers of phases: many heads at once, each with weights of its own.

A rotation is diagonal in the basis of its own Pauli word. So a circuit is a chain of phases, which hold all that
depends on inputs and weights, and of fixed matrices, which are the same for every sample and every head: one product
serves all of them. Columns are samples of heads, the head last, so that a head's phases broadcast along what lies side
by side.

States are R real numbers, all real parts before all imaginary parts. Where every gate is real and every rotation RY,
the amplitude of a common eigenstate of all Y is the complex conjugate of that with every eigenvalue reversed, so half
of them suffice. The matrices have 4ⁿ entries: this form is for few qubits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pipeline.quantum.engine.fused import fixed_matrix
from pipeline.quantum.engine.layers import TO_Z, Schedule
from pipeline.quantum.engine.observables import Observables
from pipeline.quantum.matrices import z_signs
from pipeline.quantum.program.program import Program

REAL_QUBITS, COMPLEX_QUBITS = 8, 5
"""Wires up to which a circuit is a chain: with complex gates its matrices are twice as wide, and more of them."""


@dataclass(frozen=True)
class Tables:
    """A chain in one precision.

    Attributes:
        matrices: K + 1 real matrices: from real amplitudes (2ⁿ) to the first phases, between phases, and behind them.
            Without amplitudes the first is one column, of cosines and sines of ``start``, where there are phases.
        start: What is added to the phases of the first layer, (R/2, 1, 1).
        shared: What the shared angles add to the phases of each layer, (K, R/2, n_shared).
        batched: The same of samples' own angles, (R/2, n_batched) of each layer; None of a layer without them.
        is_mixed: Of each layer, whether it has both kinds.
        observables: In this precision.
    """

    matrices: tuple[np.ndarray, ...]
    start: np.ndarray
    shared: np.ndarray
    batched: tuple[np.ndarray | None, ...]
    is_mixed: tuple[bool, ...]
    observables: Observables


@dataclass
class Memory:
    """Memory for ``Chain.backward``: states behind each layer, those at the end, and cosines and sines of layers."""

    states: np.ndarray
    outputs: np.ndarray
    turns: list[tuple[np.ndarray, np.ndarray]]


class Chain:
    """The chain of a program whose gates are rotations and fixed gates.

    Attributes:
        is_real: Whether its states are 2ⁿ real numbers, instead of twice as many.
    """

    def __init__(self, program: Program) -> None:
        self._program, n = program, program.n_wires
        self.is_real = is_real(program)
        schedule = Schedule(program, run=0, basis="Y" if self.is_real else "Z")
        whole = [fixed_matrix(gates, n) for gates in schedule.fixed]
        if self.is_real:
            to_y = _all_y(n)[: 2 ** (n - 1)]
            change = np.sqrt(2) * np.concatenate([to_y.real, to_y.imag])
            matrices = [matrix.real @ change.T for matrix in whole]
            matrices[0] = whole[0].real
            matrices[:-1] = [change @ matrix for matrix in matrices[:-1]]
        else:
            matrices = [np.block([[m.real, -m.imag], [m.imag, m.real]]) for m in whole]
            matrices[0] = matrices[0][:, : 2**n]
        self._start = np.zeros((len(matrices[0]) // 2, 1, 1))
        if program.amplitudes is None:
            matrices[0] = matrices[0][:, :1]
            if schedule.layers:
                # |0…0⟩ before the first phases: absolute values go into the next matrix, arguments into the phases.
                column = matrices[0].reshape(2, -1)
                sizes = np.hypot(*column)
                self._start[:, 0, 0] = np.arctan2(column[1], column[0])
                matrices[1] = matrices[1] * np.tile(sizes, 2)
        # Equal ones are one object, which stays in the processor's cache.
        known: dict[bytes, np.ndarray] = {}
        self._matrices = [known.setdefault(m.tobytes(), m) for m in matrices]
        kept = z_signs(n)[:, : 2 ** (n - 1)] if self.is_real else z_signs(n)
        counts = {"shared": program.n_shared, "batched": program.n_batched}
        self._signs = {kind: np.zeros((len(schedule.layers), kept.shape[1], k)) for kind, k in counts.items()}
        for layer, gates in enumerate(schedule.layers):
            for wires, parameter in gates.words:
                self._signs[parameter.kind][layer, :, parameter.index] -= np.prod(kept[list(wires)], axis=0) / 2
        self.tables = cache(self._tables)

    def __reduce__(self) -> Any:
        return Chain, (self._program,)

    def _tables(self, dtype: str) -> Tables:
        """The tables of ``float32`` or ``float64``."""
        cast = {id(m): np.ascontiguousarray(m, dtype=dtype) for m in self._matrices}
        return Tables(
            tuple(cast[id(m)] for m in self._matrices),
            self._start.astype(dtype),
            self._signs["shared"].astype(dtype),
            tuple(signs.astype(dtype) if signs.any() else None for signs in self._signs["batched"]),
            tuple(
                bool(a.any() and b.any()) for a, b in zip(self._signs["shared"], self._signs["batched"], strict=True)
            ),
            Observables(self._program.measurements, self._program.n_wires, np.dtype(dtype)),
        )

    def forward(
        self, shared: np.ndarray, batched: np.ndarray, amplitudes: np.ndarray | None, n_samples: int, keep: bool
    ) -> tuple[np.ndarray, Memory | None]:
        """Values (B · heads, n_outputs), and the memory for ``backward`` if ``keep``.

        Args:
            shared: Angles of all samples of a head, (n_shared, heads).
            batched: Samples' own angles, (n_batched, B · heads), of the same dtype.
            amplitudes: The states at the start, (2ⁿ, B · heads), real; |0…0⟩ if None.
            n_samples: B.
            keep: Whether ``backward`` follows.
        """
        tables, n_heads = self.tables(shared.dtype.name), shared.shape[1]
        turns = self._turns(tables, shared, batched, n_samples)
        shape = (n_samples, n_heads)
        before = tables.matrices[0] if amplitudes is None else tables.matrices[0] @ amplitudes
        n_rows = len(before)
        states = np.empty((len(turns) if keep else min(len(turns), 1), n_rows, n_samples * n_heads), shared.dtype)
        for layer, (cos, sin) in enumerate(turns):
            place = states[layer if keep else 0]
            after = place.reshape(2, -1, *shape)
            if layer or amplitudes is not None:
                halves = before.reshape(after.shape)
                np.multiply(halves, cos, out=after)
                halves *= sin
                after[0] -= halves[1]
                after[1] += halves[0]
            else:
                after[0], after[1] = cos, sin
            before = tables.matrices[layer + 1] @ place
        outputs = before if turns or amplitudes is not None else np.repeat(before, n_samples * n_heads, axis=1)
        return tables.observables.values(self._amplitudes(outputs)), Memory(states, outputs, turns) if keep else None

    def backward(
        self, memory: Memory, upstream: np.ndarray, n_heads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Gradients of shared and batched angles, and of the amplitudes, from the values' gradient."""
        tables = self.tables(upstream.dtype.name)
        observed = tables.observables.adjoint(self._amplitudes(memory.outputs), upstream)
        adjoint = 2 * observed.real if self.is_real else 2 * np.concatenate([observed.real, observed.imag])
        n_samples, n_columns = adjoint.shape[1] // n_heads, adjoint.shape[1]
        adjoints = np.empty_like(memory.states)
        for layer, (cos, sin) in reversed(list(enumerate(memory.turns))):
            np.matmul(tables.matrices[layer + 1].T, adjoint, out=adjoints[layer])
            if not layer and self._program.amplitudes is None:
                break
            after = adjoints[layer].reshape(2, -1, n_samples, n_heads)
            before = after * cos
            turned = after * sin
            before[0] += turned[1]
            before[1] -= turned[0]
            adjoint = before.reshape(-1, n_columns)
        # d/dφ of (cos φ, sin φ) is (-sin φ, cos φ).
        half = adjoints.shape[1] // 2
        slopes = memory.states[:, :half] * adjoints[:, half:]
        slopes -= memory.states[:, half:] * adjoints[:, :half]
        by_head = slopes.reshape(len(slopes) * half, n_samples, n_heads).sum(axis=1)
        shared = tables.shared.reshape(len(by_head), self._program.n_shared).T @ by_head
        batched = np.zeros((self._program.n_batched, n_columns), dtype=slopes.dtype)
        for signs, slope in zip(tables.batched, slopes, strict=True):
            if signs is not None:
                batched += signs.T @ slope
        start = None if self._program.amplitudes is None else tables.matrices[0].T @ adjoint
        return shared, batched, start

    def behind_inputs(self, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The circuit with its shared angles fixed, as one matrix behind the inputs; None where these come in later.

        Args:
            shared: Shape (n_shared,), float64.

        Returns:
            Signs, of shape (R/2, n_batched), and the matrix, of R columns, that makes states of the cosines and sines
            of the signs times the batched angles.
        """
        tables = self.tables("float64")
        first, *later = tables.batched or [None]
        if first is None or any(signs is not None for signs in later) or self._program.amplitudes is not None:
            return None
        phases = (tables.shared @ shared)[:, :, None]
        phases[0] += tables.start[:, 0]
        matrix = np.eye(2 * len(first))
        for layer, (cos, sin) in enumerate(zip(np.cos(phases), np.sin(phases), strict=True)):
            real, imag = np.split(matrix, 2)
            turned = np.concatenate([cos * real - sin * imag, sin * real + cos * imag])
            matrix = tables.matrices[layer + 1] @ turned
        return first, matrix

    def _turns(
        self, tables: Tables, shared: np.ndarray, batched: np.ndarray, n_samples: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Cosines and sines of each layer's phases, of shapes that broadcast to (R/2, B, heads)."""
        by_head = (tables.shared @ shared)[:, :, None]
        if len(by_head):
            by_head[0] += tables.start
        turns = list(zip(np.cos(by_head), np.sin(by_head), strict=True))
        for layer, signs in enumerate(tables.batched):
            if signs is not None:
                phases = (signs @ batched).reshape(-1, n_samples, shared.shape[1])
                if tables.is_mixed[layer]:
                    phases += by_head[layer]
                elif not layer:
                    phases += tables.start
                turns[layer] = np.cos(phases), np.sin(phases)
        return turns

    def _amplitudes(self, rows: np.ndarray) -> np.ndarray:
        """The amplitudes in the basis of Z."""
        if self.is_real:
            return rows
        half = len(rows) // 2
        result = np.empty((half, rows.shape[1]), dtype=np.result_type(rows, np.complex64))
        result.real, result.imag = rows[:half], rows[half:]
        return result


def is_real(program: Program) -> bool:
    """Whether all gates are real, the rotations about Y."""
    return all(
        gate.word == "Y" if gate.matrix is None else np.abs(gate.matrix.imag).max() <= 1e-14 for gate in program.gates
    )


def fits(program: Program) -> bool:
    """Whether a program can be a chain, and is small enough."""
    if program.polynomials is None:
        return False
    return program.n_wires <= (REAL_QUBITS if is_real(program) else COMPLEX_QUBITS)


def _all_y(n_wires: int) -> np.ndarray:
    """The change to the basis of all Y."""
    change = np.ones((1, 1), dtype=complex)
    for _ in range(n_wires):
        change = np.kron(change, TO_Z["Y"])
    return change
