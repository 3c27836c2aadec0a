"""Schedule the gates of a program in few layers: each gate goes into the earliest layer that its wires allow.

In: a program. Out: layers, with fixed gates between them. Two kinds do all the work: ``wires``, where each wire has a
run of rotations that all samples share, so that a run is one 2×2 matrix; and ``phases``, rotations of words of Z that
commute, so that the layer is one diagonal. A rotation about X or Y with an angle a sample, or of a longer word, is one
of Z between two fixed changes of basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.quantum.program.program import Parameter, Program
from pipeline.quantum.program.tape import Gate

RUN = 3
"""Rotations on one wire in one layer: their 2×2 matrix is linear in 2³ products of cosines and sines."""
TO_Z = {
    "X": np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2),
    "Y": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
}
"""The changes of basis that make X and Y diagonal."""


@dataclass
class Layer:
    """Gates that act at once.

    Attributes:
        kind: ``wires``, ``phases`` or ``matrix``.
        runs: Of ``wires``: for each wire its rotations, (letter, index of a shared angle), and fixed 2×2 matrices.
        words: Of ``phases``: wires of each word of Z, and its angle.
        gate: Of ``matrix``: the gate, and its parameter.
    """

    kind: str
    runs: dict[int, list[tuple[str, int] | np.ndarray]] = field(default_factory=dict)
    words: list[tuple[tuple[int, ...], Parameter]] = field(default_factory=list)
    gate: tuple[Gate, Parameter] | None = None


class Schedule:
    """The layers of a program.

    Args:
        program: The traced circuit.
        run: Most rotations on one wire in one layer of kind ``wires``; with 0 all rotations go into ``phases``.
        basis: The letter of rotations that need no change of basis: Y if phases are meant in the basis of Y.

    Attributes:
        layers: In order.
        fixed: Fixed gates before each layer, and, last, those behind all of them.
    """

    def __init__(self, program: Program, run: int = RUN, basis: str = "Z") -> None:
        self._run, self._basis = run, basis
        self.layers: list[Layer] = []
        self.fixed: list[list[Gate]] = [[]]
        # The last layer with a gate on the wire, and the first one behind the last fixed gate on it.
        self._used = [-1] * program.n_wires
        self._ready = [0] * program.n_wires
        for gate, parameter in zip(program.gates, program.parameters, strict=True):
            if parameter is None:
                self._place_fixed(gate)
            elif parameter.kind == "matrix":
                self._append(Layer("matrix", gate=(gate, parameter)), gate.wires)
            elif run and parameter.kind == "shared" and len(gate.wires) == 1:
                self._place_rotation(gate, parameter)
            else:
                self._place_word(gate, parameter)
        self.fixed += [[] for _ in range(len(self.layers) + 1 - len(self.fixed))]

    def _place_fixed(self, gate: Gate) -> None:
        """Put a fixed gate behind the last gate on its wires, as early as possible."""
        single = len(gate.wires) == 1
        if single:
            wire = gate.wires[0]
            last = self._used[wire]
            if last >= 0 and self.layers[last].kind == "wires" and self._ready[wire] <= last:
                self.layers[last].runs[wire].append(_matrix(gate))
                return
        place = max(max(self._used[wire] + 1, self._ready[wire]) for wire in gate.wires)
        self.fixed += [[] for _ in range(place + 1 - len(self.fixed))]
        previous = _last_on(self.fixed[place], gate.wires[0]) if single else None
        if previous is not None and len(self.fixed[place][previous].wires) == 1:
            product = _matrix(gate) @ _matrix(self.fixed[place].pop(previous))
            if not np.allclose(product, product[0, 0] * np.eye(2), rtol=0, atol=1e-12):
                self.fixed[place].insert(previous, Gate("product", gate.wires, matrix=product))
        else:
            self.fixed[place].append(gate)
        for wire in gate.wires:
            self._ready[wire] = max(
                [k for k, gates in enumerate(self.fixed) if _last_on(gates, wire) is not None] or [0]
            )

    def _place_rotation(self, gate: Gate, parameter: Parameter) -> None:
        wire = gate.wires[0]
        for place in range(max(self._used[wire], self._ready[wire], 0), len(self.layers)):
            layer = self.layers[place]
            if layer.kind == "wires" and sum(isinstance(e, tuple) for e in layer.runs.get(wire, [])) < self._run:
                break
        else:
            place = self._append(Layer("wires"), ())
        run = self.layers[place].runs.setdefault(wire, [])
        if not run:
            # A fixed gate right before the run becomes part of it.
            before = self.fixed[self._ready[wire]] if self._ready[wire] < len(self.fixed) else []
            index = _last_on(before, wire)
            if index is not None and self._ready[wire] > self._used[wire] and len(before[index].wires) == 1:
                run.append(_matrix(before.pop(index)))
        run.append((gate.word, parameter.index))
        self._used[wire] = place

    def _place_word(self, gate: Gate, parameter: Parameter) -> None:
        changes = [
            Gate("Hadamard" if letter == "X" else "basis", (wire,), matrix=TO_Z[letter])
            for wire, letter in zip(gate.wires, gate.word, strict=True)
            if letter != self._basis
        ]
        for change in changes:
            self._place_fixed(change)
        for place in range(max(0, *(max(self._used[w], self._ready[w]) for w in gate.wires)), len(self.layers)):
            if self.layers[place].kind == "phases":
                break
        else:
            place = self._append(Layer("phases"), ())
        self.layers[place].words.append((gate.wires, parameter))
        for wire in gate.wires:
            self._used[wire] = place
        for change in changes:
            self._place_fixed(Gate("basis", change.wires, matrix=_matrix(change).conj().T))

    def _append(self, layer: Layer, wires: Sequence[int]) -> int:
        self.layers.append(layer)
        for wire in wires:
            self._used[wire] = len(self.layers) - 1
        return len(self.layers) - 1


def _last_on(gates: Sequence[Gate], wire: int) -> int | None:
    """The place of the last gate on a wire."""
    return next((k for k in reversed(range(len(gates))) if wire in gates[k].wires), None)


def _matrix(gate: Gate) -> np.ndarray:
    assert gate.matrix is not None
    return gate.matrix
