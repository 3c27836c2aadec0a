"""Real circuits: states ride with their adjoints in one register of Lightning.

In: real states of shape (2ⁿ, columns). Real gates act on real and imaginary parts alike, so two real columns make one
complex column of the register, which halves it. Backward, Φ + iλ goes through the gates in one pass, and the
derivative of RY, Im⟨λ|Y|Φ⟩, is the imaginary part of ⟨χ₀|χ₁⟩ between the halves of χ = Φ + iλ where the wire is 0 and
where it is 1. With more than 2ⁿ samples the register computes the circuit's matrix from the 2ⁿ unit vectors, and a
batch then costs one matrix product each way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.lightning import Register
from pipeline.quantum.matrices import late_wire
from pipeline.quantum.program.tape import Gate

BLOCK = 2**16
"""Amplitudes in the register at once: 1 MiB of complex128, which fits into a core's own cache."""
GRAM_QUBITS = 4
"""Wires up to which one product of all pairs of rows is cheaper than a few calls for each wire."""


@dataclass
class Prepared:
    """Each shared angle in a list; for many samples the circuit's matrix, and the sum of its adjoints."""

    angles: list[list[float]]
    unitary: np.ndarray | None = None
    adjoint: np.ndarray | None = None


class PackedSteps:
    """Layers of RY, one a wire at most, and real fixed gates. Arguments as of ``FusedSteps``."""

    def __init__(
        self, layers: list[Layer], fixed: list[list[Gate]], n_wires: int, n_shared: int, dtype: np.dtype
    ) -> None:
        self._n, self._n_shared, self._dtype = n_wires, n_shared, dtype
        self._c_dtype = np.result_type(dtype, np.complex64)
        self._gates: list[tuple[Gate, int | None]] = []
        # Start and end of each layer's rotations, last layer first, and for each rotation its layer, wire and angle.
        self._groups: list[tuple[int, int]] = []
        places = []
        behind: list[tuple[Gate, int | None]] = []
        for k, gates in enumerate(fixed):
            self._gates += [*behind, *((gate, None) for gate in gates)]
            if k == len(layers):
                break
            before, rotations, behind = _in_turn(layers[k])
            self._gates += before
            self._groups.insert(0, (len(self._gates), len(self._gates) + len(rotations)))
            self._gates += rotations
            places += [(len(layers) - 1 - k, gate.wires[0], index) for gate, index in rotations]
        ranks, wires, self._angle_of = np.array(places, dtype=int).reshape(-1, 3).T
        self._rotation_at = ranks * n_wires + wires
        self._overlaps = _Overlaps(n_wires, dtype)
        self._local = threading.local()

    def prepare_shared(self, shared: np.ndarray, n_samples: int) -> Prepared:
        """What all samples share."""
        prepared = Prepared([[angle] for angle in shared.tolist()])
        if n_samples > 2**self._n:
            prepared.unitary = self._evolve(np.eye(2**self._n, dtype=self._dtype), prepared.angles)
            prepared.adjoint = np.zeros_like(prepared.unitary)
        return prepared

    def forward(
        self, prepared: Prepared, states: np.ndarray, _units: None, _matrices: list[np.ndarray], _keep: bool
    ) -> tuple[np.ndarray, Any]:
        """The states behind all steps, and the memory for ``backward``."""
        unitary = prepared.unitary
        outputs = self._evolve(states, prepared.angles) if unitary is None else unitary @ states
        return outputs, (prepared, states, outputs)

    def backward(
        self, memory: Any, adjoint: np.ndarray, gradient: Any, need_start: bool, need_shared: bool = True
    ) -> np.ndarray | None:
        """Add the angles' gradients, from the adjoint states behind all steps; return those before all steps."""
        prepared, states, outputs = memory
        if prepared.unitary is not None:
            if need_shared:
                prepared.adjoint += adjoint @ states.T
            return prepared.unitary.T @ adjoint if need_start else None
        if need_shared:
            return self._reverse(outputs, adjoint, prepared.angles, gradient.shared, need_start)
        return self._evolve(adjoint, prepared.angles, inverse=True) if need_start else None

    def finish(self, prepared: Prepared, gradient: Any) -> None:
        """Add what all samples together give."""
        if prepared.unitary is not None and prepared.adjoint is not None:
            self._reverse(prepared.unitary, prepared.adjoint, prepared.angles, gradient.shared, need_start=False)
            prepared.adjoint = np.zeros_like(prepared.adjoint)

    def _evolve(self, states: np.ndarray, angles: list[list[float]], inverse: bool = False) -> np.ndarray:
        """The gates (or their inverses) applied to the columns of ``states``."""
        dim, n_columns = states.shape
        width = self._width(n_columns, at_least=2)
        register = self._workspace(width // 2)[0]
        run = register.undo if inverse else register.apply
        result = np.empty(states.shape, dtype=self._dtype)
        if width == n_columns:
            register.load(np.ascontiguousarray(states).reshape(-1).view(self._c_dtype))
            run(angles)
            register.read(result.reshape(-1).view(self._c_dtype))
            return result
        for first in range(0, n_columns, width):
            block = np.zeros((dim, width), dtype=self._dtype)
            part = states[:, first : first + width]
            block[:, : part.shape[1]] = part
            register.load(block.reshape(-1).view(self._c_dtype))
            run(angles)
            register.read(block.reshape(-1).view(self._c_dtype))
            result[:, first : first + width] = block[:, : part.shape[1]]
        return result

    def _reverse(
        self,
        outputs: np.ndarray,
        adjoint: np.ndarray,
        angles: list[list[float]],
        gradient: np.ndarray,
        need_start: bool,
    ) -> np.ndarray | None:
        """Run χ = Φ + iλ back through the gates; add to ``gradient``; return λ at the start if ``need_start``."""
        dim, n_columns = outputs.shape
        start = np.empty_like(adjoint) if need_start else None
        width = self._width(n_columns)
        register, history, places = self._workspace(width)
        n_groups = len(self._groups)
        derivatives = np.empty((n_groups, self._n), dtype=self._dtype)
        for first in range(0, n_columns, width):
            used = min(width, n_columns - first)
            packed = (np.empty if used == width else np.zeros)((dim, width), dtype=self._c_dtype)
            packed.real[:, :used] = outputs[:, first : first + used]
            packed.imag[:, :used] = adjoint[:, first : first + used]
            register.load(packed.reshape(-1))
            stop = len(self._gates)
            for done, (_, end) in enumerate(self._groups, start=1):
                register.undo(angles, end, stop)
                stop = end
                n_kept = (done - 1) % len(history) + 1
                register.read(places[n_kept - 1])
                if n_kept == len(history) or done == n_groups:
                    derivatives[done - n_kept : done] = self._overlaps(history[:n_kept])
            gradient += np.bincount(self._angle_of, derivatives.take(self._rotation_at), self._n_shared)
            if start is not None:
                register.undo(angles, 0, stop)
                register.read(packed.reshape(-1))
                start[:, first : first + used] = packed.imag[:, :used]
        return start

    def _width(self, n_columns: int, at_least: int = 1) -> int:
        """Columns that go through the register at once: a power of two, at most a block."""
        return max(at_least, min(1 << (n_columns - 1).bit_length(), BLOCK >> self._n))

    def _workspace(self, width: int) -> tuple[Register, np.ndarray, list[np.ndarray]]:
        # One register a thread, because a pass leaves its state there between two calls.
        workspaces = self._local.__dict__
        key = str(width)
        if key not in workspaces:
            n_wires = self._n + width.bit_length() - 1
            length = max(1, min(len(self._groups), BLOCK >> n_wires))
            history = np.empty((length, 2**self._n, width), dtype=self._c_dtype)
            register = Register(self._gates, n_wires, self._c_dtype.name)
            workspaces[key] = register, history, list(history.reshape(length, -1))
        return workspaces[key]


class _Overlaps:
    """Im⟨χ₀|χ₁⟩ of every wire, from states of shape (k, 2ⁿ, columns): shape (k, n)."""

    def __init__(self, n_wires: int, dtype: np.dtype) -> None:
        self._n = n_wires
        if n_wires <= GRAM_QUBITS:
            rows = np.arange(2**n_wires)
            pairs = np.zeros((2**n_wires, 2**n_wires, n_wires), dtype=dtype)
            for wire in range(n_wires):
                zero = rows[rows >> (n_wires - 1 - wire) & 1 == 0]
                pairs[zero, zero | 1 << (n_wires - 1 - wire), wire] = 1
            self._pairs = pairs.reshape(-1, n_wires)

    def __call__(self, states: np.ndarray) -> np.ndarray:
        n, (n_states, _, n_columns) = self._n, states.shape
        if n <= GRAM_QUBITS:
            # Of real and imaginary parts side by side: Im⟨a|b⟩ = Re⟨a|-ib⟩.
            rows, turned = (s.view(self._pairs.dtype) for s in (states, -1j * states))
            return (rows @ turned.swapaxes(1, 2)).reshape(n_states, -1).dot(self._pairs)
        split = late_wire(n, n_columns)
        runs = [1 << wire for wire in (*range(split), *range(n - split))]
        overlaps = np.empty((n_states, sum(runs)), dtype=states.dtype)
        start = 0
        for wire, n_runs in enumerate(runs):
            if wire == split:
                states = np.ascontiguousarray(states.reshape(n_states, 2**split, -1, n_columns).swapaxes(1, 2))
            halves = states.reshape(n_states, n_runs, 2, -1)
            np.vecdot(halves[:, :, 0], halves[:, :, 1], out=overlaps[:, start : start + n_runs])
            start += n_runs
        # Each wire's runs are summed in one call for all wires.
        return np.add.reduceat(overlaps.imag, np.cumsum([0, *runs[:-1]]), axis=1)


def _in_turn(layer: Layer) -> tuple[list[tuple[Gate, int | None]], ...]:
    """A layer's fixed gates before its rotations, the rotations with their angles, and the fixed gates behind them."""
    before: list[tuple[Gate, int | None]] = []
    rotations: list[tuple[Gate, int | None]] = []
    behind: list[tuple[Gate, int | None]] = []
    for wire, run in layer.runs.items():
        fixed = before
        for element in run:
            if isinstance(element, tuple):
                rotations.append((Gate("rotation", (wire,), element[0]), element[1]))
                fixed = behind
            else:
                fixed.append((Gate("fixed", (wire,), matrix=element), None))
    return before, rotations, behind
