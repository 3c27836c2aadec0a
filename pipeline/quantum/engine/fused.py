"""Few qubits: each layer of a circuit as one matrix.

In: states of shape (2ⁿ, columns). A layer of runs is the Kronecker product of its 2×2 matrices, with the fixed gates
behind it folded in; all of them are made in a few array operations. With more samples than 2ⁿ, neighbouring layers
are multiplied out first. Derivatives need one matrix a layer, N = Φ λ† of the states before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.engine.phases import Phases, UnitPhases, diagonals
from pipeline.quantum.engine.runs import Runs
from pipeline.quantum.matrices import apply_matrix, matrix_gradient, row_order
from pipeline.quantum.program.tape import Gate


@dataclass
class Prepared:
    """Matrices for given shared angles: of the runs, their waves, and of whole layers."""

    runs: np.ndarray
    waves: np.ndarray
    layers: np.ndarray


@dataclass
class Memory:
    """Memory for the reverse pass: the states of each step."""

    prepared: Prepared
    phases: dict[Any, np.ndarray]
    matrices: list[np.ndarray]
    states: list[Any] = field(default_factory=list)


class FusedSteps:
    """Layers and fixed gates as matrices on all wires.

    Args:
        layers: In order.
        fixed: Fixed gates before each layer and behind all.
        n_wires: Number of wires.
        n_shared: Number of shared angles.
        dtype: Of the states, complex.
    """

    def __init__(
        self, layers: list[Layer], fixed: list[list[Gate]], n_wires: int, n_shared: int, dtype: np.dtype
    ) -> None:
        self._n, self._dim, self._dtype = n_wires, 2**n_wires, dtype
        wires = [layer for layer in layers if layer.kind == "wires"]
        self._runs = Runs(wires, n_wires, n_shared)
        phases = [Phases(layer, n_wires) if layer.kind == "phases" else None for layer in layers]
        self._phases = [layer for layer in phases if layer is not None]
        posts = [np.eye(self._dim, dtype=complex) for _ in wires]
        self._steps: list[tuple[str, Any, Any]] = []
        k = 0
        for place, gates in enumerate(fixed):
            if gates:
                matrix = fixed_matrix(gates, n_wires)
                if self._steps and self._steps[-1][0] == "wires":
                    posts[k - 1] = matrix
                else:
                    self._steps.append(("fixed", self._cast(matrix), None))
            if place == len(layers):
                break
            layer = layers[place]
            if layer.kind == "wires":
                if self._steps and self._steps[-1][0] == "wires":
                    self._steps[-1] = ("wires", self._steps[-1][1], k + 1)
                else:
                    self._steps.append(("wires", k, k + 1))
                k += 1
            elif layer.kind == "phases":
                self._steps.append(("phases", phases[place], None))
            else:
                self._steps.append(("matrix", *layer.gate))  # type: ignore[misc]
        order = row_order(np.array(posts).reshape(-1, self._dim, self._dim))
        self._posts = None if order is not None else self._cast(np.array(posts))
        self._identity = self._cast(np.eye(self._dim))
        self._entries = _entries(order, len(wires), n_wires)
        self._traces = _trace_index(len(wires), n_wires)

    def prepare_shared(self, shared: np.ndarray, _n_samples: int) -> Prepared:
        """The matrices of all layers for these angles."""
        runs, waves = self._runs.matrices(shared)
        factors = runs.reshape(len(runs), self._n, 4).astype(self._dtype, copy=False)
        outer = factors[:, -1]
        for wire in range(self._n - 2, -1, -1):
            outer = (factors[:, wire, :, None] * outer[:, None]).reshape(-1, 4 * outer.shape[1])
        layers = outer.take(self._entries)
        if self._posts is not None:
            layers = self._posts @ layers
        return Prepared(runs, waves, layers)

    def forward(
        self,
        prepared: Prepared,
        states: np.ndarray,
        units: UnitPhases | None,
        matrices: list[np.ndarray],
        keep: bool,  # noqa: ARG002 - so few amplitudes are always kept
    ) -> tuple[np.ndarray, Memory]:
        """The states behind all steps, and the memory for ``backward``."""
        memory = Memory(prepared, diagonals(self._phases, units), matrices)
        for kind, first, second in self._steps:
            if kind == "wires":
                whole = second - first > 1 and states.shape[1] > self._dim
                columns = self._identity if whole else states
                before = np.empty((second - first, *columns.shape), dtype=self._dtype)
                before[0] = columns
                if whole:
                    before[1] = prepared.layers[first]
                for k in range(first + whole, second - 1):
                    # ``dot`` takes half the time of ``matmul`` for matrices as small as these.
                    prepared.layers[k].dot(before[k - first], out=before[k - first + 1])
                after = prepared.layers[second - 1].dot(before[-1])
                memory.states.append((before, states, after) if whole else (before, None, None))
                states = after.dot(states) if whole else after
            elif kind == "phases":
                one_column = states.shape[1] == 1
                states = states * memory.phases[first.key]
                memory.states.append((states, one_column))
            elif kind == "matrix":
                memory.states.append(states)
                states = apply_matrix(memory.matrices[second.index], first.wires, states)
            else:
                memory.states.append(None)
                states = first @ states
        return states, memory

    def backward(
        self, memory: Memory, adjoint: np.ndarray, gradient: Any, need_start: bool, need_shared: bool = True
    ) -> np.ndarray:
        """Add the angles' gradients, from the adjoint states behind all steps; return those before all steps."""
        prepared = memory.prepared
        inner = np.empty_like(prepared.layers)
        slopes: dict[Any, tuple[Phases, np.ndarray]] = {}
        for place in reversed(range(len(self._steps))):
            kind, first, second = self._steps[place]
            kept = memory.states[place]
            needed = need_start or place > 0
            if kind == "wires":
                before, states, product = kept
                # (A† λ)* = A^T λ*, so that no copy of A is made.
                columns = adjoint.conj() if states is None else adjoint.conj().dot(states.T)
                adjoints = np.empty_like(before)
                for k in reversed(range(first, second)):
                    columns = prepared.layers[k].T.dot(columns, out=adjoints[k - first])
                if need_shared:
                    np.matmul(before, adjoints.swapaxes(1, 2), out=inner[first:second])
                if needed:
                    adjoint = columns.conj() if states is None else product.conj().T.dot(adjoint)
            elif kind == "phases":
                states, one_column = kept
                slope = first.slope(adjoint, states)
                slopes[first.key] = (first, slopes[first.key][1] + slope if first.key in slopes else slope)
                if needed:
                    adjoint = adjoint * memory.phases[first.key].conj()
                    if one_column and adjoint.shape[1] > 1:
                        adjoint = adjoint.sum(axis=1, keepdims=True)
            elif kind == "matrix":
                matrix = memory.matrices[second.index]
                gradient.matrices[second.index] += matrix_gradient(matrix, first.wires, kept, adjoint)
                adjoint = apply_matrix(matrix.conj().swapaxes(-1, -2), first.wires, adjoint)
                if kept.shape[1] == 1 and adjoint.shape[1] > 1:
                    adjoint = adjoint.sum(axis=1, keepdims=True)
            elif needed:
                adjoint = first.conj().T @ adjoint
        for layer, slope in slopes.values():
            layer.add_gradient(slope, gradient.batched, gradient.shared)
        if len(inner) and need_shared:
            traced = np.add.reduce(inner.take(self._traces), axis=0)
            gradient.shared += self._runs.gradient(prepared.runs, prepared.waves, traced)
        return adjoint

    def finish(self, prepared: Prepared, gradient: Any) -> None:
        """Nothing is left."""

    def _cast(self, matrix: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(matrix, dtype=self._dtype)


def fixed_matrix(gates: list[Gate], n_wires: int) -> np.ndarray:
    """The product of fixed gates on all wires."""
    matrix = np.eye(2**n_wires, dtype=complex)
    for gate in gates:
        assert gate.matrix is not None
        matrix = apply_matrix(gate.matrix, gate.wires, matrix)
    return matrix


def _entries(order: np.ndarray | None, n_layers: int, n_wires: int) -> np.ndarray:
    """Where the entries of each layer's matrix, (K, d, d), lie in the outer product of its 2×2 matrices, (K, 4ⁿ).

    Of an outer product the first index holds row and column of the first wire's matrix, one bit each.
    """
    dim = 2**n_wires
    states = np.arange(dim)
    spread = np.zeros(dim, dtype=np.intp)
    for bit in range(n_wires):
        spread |= (states >> bit & 1) << 2 * bit
    rows = np.broadcast_to(spread, (n_layers, dim)) if order is None else spread[order]
    return np.arange(n_layers)[:, None, None] * dim**2 + 2 * rows[:, :, None] + spread


def _trace_index(n_layers: int, n_wires: int) -> np.ndarray:
    """Entries of matrices (K, d, d) that sum to tr_{other wires}, shape (2^(n-1), K, n, 2, 2)."""
    dim = 2**n_wires
    rows = np.arange(dim)
    index = []
    for wire in range(n_wires):
        bit = 1 << (n_wires - 1 - wire)
        rest = rows[rows & bit == 0]
        index.append([[(rest | a) * dim + (rest | b) for b in (0, bit)] for a in (0, bit)])
    entries = np.moveaxis(np.array(index, dtype=np.intp), -1, 0)
    return np.arange(n_layers)[:, None, None, None] * dim**2 + entries[:, None]
