"""Many qubits: gates that all samples share run in Lightning's register, one by one, on all samples at once.

In: states of shape (2ⁿ, columns), the columns a power of two: they are further wires behind those of the circuit. A run
of rotations is one 2×2 matrix; its derivatives need N = tr_{other wires} |Φ⟩⟨λ|. Two products of the halves of Φ and λ,
and ⟨λ|Φ⟩ of the states of a few wires, determine it, because |Φ⟩⟨λ| of an observable has a real trace.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.engine.phases import Phases, UnitPhases, diagonals
from pipeline.quantum.engine.runs import Runs
from pipeline.quantum.lightning import StateVector
from pipeline.quantum.matrices import apply_matrix, late_wire, matrix_gradient, z_signs
from pipeline.quantum.program.tape import Gate

MOST_KEPT = 2**23
"""Amplitudes kept for the backward pass, over all layers; beyond, states are recomputed by running backwards."""
TOGETHER = 2**17
"""Amplitudes of several layers from which products are taken in one call."""


@dataclass
class Prepared:
    """Of shared angles: matrices of all runs, their waves, and each angle in a list."""

    runs: np.ndarray
    waves: np.ndarray
    angles: list[list[float]]


@dataclass
class Memory:
    """Memory for the reverse pass: the states before each step (behind it, for phases), and the final states.

    States before layers of runs stand in ``shelf``, of shape (K, 2ⁿ, columns), if they have all the columns.
    """

    prepared: Prepared
    phases: dict[Any, np.ndarray]
    matrices: list[np.ndarray]
    is_kept: bool
    shelf: np.ndarray
    states: list[Any] = field(default_factory=list)
    outputs: Any = None


class RegisterSteps:
    """Layers and fixed gates through Lightning's register. Arguments as of ``FusedSteps``."""

    def __init__(
        self, layers: list[Layer], fixed: list[list[Gate]], n_wires: int, n_shared: int, dtype: np.dtype
    ) -> None:
        self._n, self._dtype = n_wires, dtype
        wires = [layer for layer in layers if layer.kind == "wires"]
        self._runs = Runs(wires, n_wires, n_shared)
        self._steps: list[tuple[str, Any]] = []
        n_runs = 0
        for place, gates in enumerate(fixed):
            if gates:
                self._steps.append(("fixed", gates))
            if place == len(layers):
                break
            layer = layers[place]
            if layer.kind == "wires":
                self._steps.append(("wires", (n_runs, [(w, *_letter(run)) for w, run in layer.runs.items() if run])))
                n_runs += 1
            elif layer.kind == "phases":
                self._steps.append(("phases", Phases(layer, n_wires)))
            else:
                self._steps.append(("matrix", layer.gate))
        runs_of = [run for kind, step in self._steps if kind == "wires" for run in step[1]]
        self._products = _Products(n_wires, sorted({run[0] for run in runs_of}), {run[1] for run in runs_of})
        self._n_runs = n_runs
        self._phases = [step for kind, step in self._steps if kind == "phases"]
        self._first_wires = next((k for k, (kind, _) in enumerate(self._steps) if kind == "wires"), -1)
        self._first_angle = next((k for k, (kind, _) in enumerate(self._steps) if kind != "fixed"), len(self._steps))
        self._local = threading.local()

    def prepare_shared(self, shared: np.ndarray, _n_samples: int) -> Prepared:
        """The matrices of all runs for these angles."""
        runs, waves = self._runs.matrices(shared)
        return Prepared(runs.astype(self._dtype), waves, [[angle] for angle in shared.tolist()])

    def forward(
        self,
        prepared: Prepared,
        states: np.ndarray,
        units: UnitPhases | None,
        matrices: list[np.ndarray],
        keep: bool,
    ) -> tuple[np.ndarray, Memory]:
        """The states behind all steps, and the memory for ``backward``, with states in it if ``keep``."""
        n_columns = max(states.shape[1], 1 if units is None else units.batched.shape[1])
        keep = keep and len(states) * n_columns * len(self._steps) <= MOST_KEPT
        shelf = np.empty((self._n_runs if keep else 0, len(states), n_columns), dtype=self._dtype)
        memory = Memory(prepared, diagonals(self._phases, units), matrices, keep, shelf)
        register = self._register(states.shape[1])
        current = _Current(register, np.ascontiguousarray(states, dtype=self._dtype))
        for kind, step in self._steps:
            kept: Any = None
            if kind == "fixed":
                current.inside().apply(step)
            elif kind == "wires":
                if keep:
                    kept = current.outside(shelf[step[0]])
                self._apply_runs(current.inside(), prepared, step, False)
            elif kind == "phases":
                before = current.outside()
                kept = (before * memory.phases[step.key], before.shape[1])
                current = _Current(register := self._register(kept[0].shape[1]), kept[0])
                kept = kept if keep else (None, kept[1])
            else:
                gate, parameter = step
                kept = current.outside()
                after = np.ascontiguousarray(apply_matrix(matrices[parameter.index], gate.wires, kept))
                current = _Current(register := self._register(after.shape[1]), after)
                kept = kept if keep else None
            memory.states.append(kept)
        memory.outputs = current.outside()
        return memory.outputs, memory

    def backward(
        self, memory: Memory, adjoint: np.ndarray, gradient: Any, need_start: bool, need_shared: bool = True
    ) -> np.ndarray:
        """Add the angles' gradients, from the adjoint states behind all steps; return those before all steps."""
        prepared = memory.prepared
        inner = np.zeros((*prepared.runs.shape[:2], 2, 2), dtype=self._dtype)
        slopes: dict[Any, tuple[Phases, np.ndarray]] = {}
        forgotten = not memory.is_kept
        pending: list[tuple[int, np.ndarray, np.ndarray]] = []
        together = max(1, TOGETHER // memory.outputs.size)
        shelf = np.empty((min(together, len(memory.shelf)), *memory.shelf.shape[1:]), dtype=self._dtype)
        states = memory.outputs
        register = self._register(adjoint.shape[1])
        current = _Current(register, np.ascontiguousarray(adjoint))
        last = 0 if need_start else self._first_angle
        for k in reversed(range(last, len(self._steps))):
            (kind, step), kept = self._steps[k], memory.states[k]
            if kind == "fixed":
                current.inside().undo(step)
            elif kind == "wires":
                self._apply_runs(current.inside(), prepared, step, True)
            if forgotten and kind != "phases":
                states = self._undone(k, states, memory)
                kept = states
            if kind == "wires" and need_shared:
                place = step[0] % together
                pending.append((step[0], kept, current.outside(shelf[place] if len(shelf) else None)))
                if place == 0 or k == self._first_wires:
                    self._take(pending, inner, memory.shelf, shelf)
            elif kind == "phases":
                array = current.outside()
                slope = step.slope(array, states if forgotten else kept[0])
                slopes[step.key] = (step, slopes[step.key][1] + slope if step.key in slopes else slope)
                array = array * memory.phases[step.key].conj()
                if kept[1] == 1 and array.shape[1] > 1:
                    array = array.sum(axis=1, keepdims=True)
                if forgotten:
                    states = states * memory.phases[step.key].conj()
                    states = np.ascontiguousarray(states[:, :1]) if kept[1] == 1 else states
                current = _Current(register := self._register(array.shape[1]), array)
            elif kind == "matrix":
                gate, parameter = step
                matrix, array = memory.matrices[parameter.index], current.outside()
                slope = matrix_gradient(matrix, gate.wires, kept, array)
                gradient.matrices[parameter.index] += slope
                array = apply_matrix(matrix.conj().swapaxes(-1, -2), gate.wires, array)
                if kept.shape[1] == 1:
                    array = array.sum(axis=1, keepdims=True)
                current = _Current(register := self._register(array.shape[1]), np.ascontiguousarray(array))
        for layer, slope in slopes.values():
            layer.add_gradient(slope, gradient.batched, gradient.shared)
        if len(inner) and need_shared:
            gradient.shared += self._runs.gradient(prepared.runs, prepared.waves, inner)
        return current.outside() if need_start else adjoint

    def finish(self, prepared: Prepared, gradient: Any) -> None:
        """Nothing is left."""

    def _take(
        self,
        pending: list[tuple[int, np.ndarray, np.ndarray]],
        inner: np.ndarray,
        states: np.ndarray,
        adjoints: np.ndarray,
    ) -> None:
        """Compute the products of the waiting layers, which may lie in two shelves, and empty the list."""
        shape = states.shape[1:] if len(states) else ()
        if len(pending) > 1 and all(kept.shape == adjoint.shape == shape for _, kept, adjoint in pending):
            first, last = pending[-1][0], pending[0][0]
            self._products(states[first : last + 1], adjoints[: len(pending)], inner[first : last + 1])
        else:
            for k, kept, adjoint in pending:
                self._products(kept[None], adjoint[None], inner[k : k + 1])
        pending.clear()

    def _apply_runs(self, register: StateVector, prepared: Prepared, step: Any, inverse: bool) -> None:
        k, runs = step
        for wire, letter, index in runs:
            if index is not None:
                register.rotations[letter]([wire], inverse, prepared.angles[index])
            else:
                register.matrix(prepared.runs[k, wire], [wire], inverse)

    def _undone(self, k: int, states: np.ndarray, memory: Memory) -> np.ndarray:
        """The states before step k from those behind it."""
        kind, step = self._steps[k]
        if kind == "matrix":
            matrix = memory.matrices[step[1].index].conj().swapaxes(-1, -2)
            return np.ascontiguousarray(apply_matrix(matrix, step[0].wires, states))
        register = self._register(states.shape[1], "of states")
        current = _Current(register, states)
        if kind == "fixed":
            current.inside().undo(step)
        else:
            self._apply_runs(current.inside(), memory.prepared, step, True)
        return current.outside()

    def _register(self, n_columns: int, use: str = "") -> StateVector:
        # One a thread, because a pass leaves its state in the register between two calls.
        registers = self._local.__dict__
        key = f"{n_columns} {use}"
        if key not in registers:
            registers[key] = StateVector(self._n + n_columns.bit_length() - 1, self._dtype.name)
        return registers[key]


class _Current:
    """A state in an array or in the register, copied to the other on demand."""

    def __init__(self, register: StateVector, array: np.ndarray) -> None:
        self._register, self._shape, self._dtype = register, array.shape, array.dtype
        self._array: np.ndarray | None = array
        self._is_inside = False

    def inside(self) -> StateVector:
        """Load the state into the register, to change it there; return the register."""
        if not self._is_inside:
            assert self._array is not None
            self._register.load(self._array.reshape(-1))
            self._is_inside = True
        self._array = None
        return self._register

    def outside(self, place: np.ndarray | None = None) -> np.ndarray:
        """The state as an array, at this place if it has the state's shape. A state in the register stays there too."""
        if place is not None and place.shape != self._shape:
            place = None
        if self._array is None:
            array = np.empty(self._shape, dtype=self._dtype) if place is None else place
            self._register.read(array.reshape(-1))
        elif place is None:
            return self._array
        else:
            array = place
            array[...] = self._array
        self._array = array
        return array


def _letter(run: list[Any]) -> tuple[str, int | None]:
    """Of a run of one rotation its letter and angle; ``all`` and None of others."""
    if len(run) == 1 and isinstance(run[0], tuple):
        return run[0]
    return "all", None


class _Products:
    """The relevant parts of N = tr_{other wires} |Φ⟩⟨λ| of all wires, for several layers in a few calls.

    Only the anti-Hermitian part of N matters, because R† dR is anti-Hermitian; Im tr N is zero.
    """

    def __init__(self, n_wires: int, wires: list[int], letters: set[str]) -> None:
        self._n, self._wires = n_wires, wires
        self._needs_others = bool(letters - {"Z"})
        self._needs_diagonal = bool(letters & {"Z", "all"})
        self._tables: dict[tuple[int, int], tuple[list[int], np.ndarray, np.ndarray]] = {}

    def __call__(self, states: np.ndarray, adjoints: np.ndarray, inner: np.ndarray) -> None:
        """Fill ``inner``, of shape (k, n, 2, 2), from states Φ and λ of shape (k, 2ⁿ, columns)."""
        n_layers, _, n_columns = states.shape
        split = late_wire(self._n, n_columns)
        self._fill(states, adjoints, inner, 0, split)
        if any(wire >= split for wire in self._wires):
            shape = (n_layers, 2**split, -1, n_columns)
            states, adjoints = (np.ascontiguousarray(s.reshape(shape).swapaxes(1, 2)) for s in (states, adjoints))
            self._fill(states, adjoints, inner, split, self._n)

    def _fill(self, states: np.ndarray, adjoints: np.ndarray, inner: np.ndarray, start: int, stop: int) -> None:
        """Fill in the wires from ``start`` to ``stop``, which are the first ones of these states."""
        if (start, stop) not in self._tables:
            self._tables[start, stop] = self._make_tables(start, stop)
        wires, edges, zeros = self._tables[start, stop]
        n_layers = len(states)
        if self._needs_others:
            overlaps = np.empty((n_layers, edges[-1], 2), dtype=states.dtype)
            for k, wire in enumerate(wires):
                kets, bras = (s.reshape(n_layers, 1 << wire - start, 2, -1) for s in (states, adjoints))
                # Of each run ⟨λ₀|Φ₁⟩ and ⟨λ₁|Φ₀⟩ between the halves.
                np.vecdot(bras, kets[:, :, ::-1], out=overlaps[:, edges[k] : edges[k + 1]])
            sums = np.add.reduceat(overlaps, edges[:-1], axis=1)
            inner[:, wires, 1, 0], inner[:, wires, 0, 1] = sums[..., 0], sums[..., 1]
        if self._needs_diagonal:
            # ⟨λ|Φ⟩ of each state of these wires: one pass over the amplitudes for all of them.
            ket, bra = (s.reshape(n_layers, 1 << stop - start, -1) for s in (states, adjoints))
            upper = np.vecdot(bra, ket).imag @ zeros.T
            inner[:, wires, 0, 0], inner[:, wires, 1, 1] = 1j * upper, -1j * upper

    def _make_tables(self, start: int, stop: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """The wires that have runs, where each one's halves begin, and the states in which it is 0."""
        wires = [wire for wire in self._wires if start <= wire < stop]
        edges = np.cumsum([0, *(1 << wire - start for wire in wires)])
        return wires, edges, z_signs(stop - start)[[wire - start for wire in wires]] > 0
