"""The one place that touches Lightning's C++ bindings.

They are not PennyLane's public interface. What this project relies on, in ``pennylane_lightning.lightning_qubit_ops``
(seen in versions 0.43 to 0.45, held by tests/quantum/test_lightning.py):

- ``StateVectorC128(n)`` and ``StateVectorC64(n)``: a state of n wires, wire 0 the most significant bit of the index.
- ``.updateData(array)`` and ``.getState(array)``: copy 2ⁿ amplitudes in and out, without asking for norm 1.
- one method a gate, under PennyLane's name for it: ``gate(wires, inverse, parameters)``.

In: a gate list and amplitudes. Out: amplitudes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.quantum.program.tape import Gate

ROTATIONS = ("RX", "RY", "RZ")
FIXED_GATES = ("Hadamard", "PauliX", "PauliY", "PauliZ", "S", "T", "CNOT", "CY", "CZ", "SWAP", "Toffoli", "CSWAP")
"""Gates without a parameter that are called by their name; others go in as matrices."""
_STATE_VECTORS = {"complex64": "StateVectorC64", "complex128": "StateVectorC128"}


class Register:
    """Lightning's state vector with a list of gates bound to it.

    Args:
        gates: Fixed gates, and rotations with the index of their angle, on wires below ``n_wires``.
        n_wires: Wires of the register; those behind the gates' own carry the samples of a batch.
        c_dtype: ``complex64`` or ``complex128``.
    """

    def __init__(self, gates: Sequence[tuple[Gate, int | None]], n_wires: int, c_dtype: str) -> None:
        self._state = _state_vector_class(c_dtype)(n_wires)
        self.load = self._state.updateData
        """Copy amplitudes in from a C-contiguous array of 2^n_wires entries of dtype ``c_dtype``."""
        self.read = self._state.getState
        """Copy the amplitudes out into such an array."""
        # Bind methods and wires once, because a look-up for each call (0.2 µs) costs as much as a small gate.
        self._calls = [(self._call(gate, np.dtype(c_dtype)), list(gate.wires), index) for gate, index in gates]

    def apply(self, angles: Sequence[list[float]], start: int = 0, stop: int | None = None) -> None:
        """Apply the gates from ``start`` to ``stop``; ``angles[k]`` is a list of one: angle k in radians."""
        for call, wires, index in self._calls[start:stop]:
            call(wires, False, _NO_ANGLE if index is None else angles[index])

    def undo(self, angles: Sequence[list[float]], start: int = 0, stop: int | None = None) -> None:
        """Apply the inverses of the gates from ``start`` to ``stop``, last gate first."""
        for call, wires, index in reversed(self._calls[start:stop]):
            call(wires, True, _NO_ANGLE if index is None else angles[index])

    def _call(self, gate: Gate, dtype: np.dtype) -> Any:
        """A function of wires, whether inverse, and [angle]."""
        if gate.word:
            return getattr(self._state, f"R{gate.word}")
        if gate.name in FIXED_GATES:
            return getattr(self._state, gate.name)
        apply, matrix = self._state.applyMatrix, np.ascontiguousarray(gate.matrix, dtype=dtype)
        return lambda wires, inverse, _angle: apply(matrix, wires, inverse)


class StateVector:
    """Lightning's state vector, with the calls that the simulator makes.

    Attributes:
        load: Copy amplitudes in from a C-contiguous array of 2^n_wires entries of ``c_dtype``.
        read: Copy the amplitudes out into such an array.
        rotations: For X, Y and Z a function of (wires, inverse, [angle in radians]).
        matrix: A function of (matrix of ``c_dtype``, wires, inverse).
    """

    def __init__(self, n_wires: int, c_dtype: str) -> None:
        self._state = _state_vector_class(c_dtype)(n_wires)
        self.c_dtype = np.dtype(c_dtype)
        self.load, self.read, self.matrix = self._state.updateData, self._state.getState, self._state.applyMatrix
        self.rotations = {letter: getattr(self._state, f"R{letter}") for letter in "XYZ"}
        # Bind methods and wires once, because a look-up for each call (0.2 µs) costs as much as a small gate.
        self._calls: dict[int, tuple[Sequence[Any], list[tuple[Any, list[int], Any]]]] = {}

    def apply(self, gates: Sequence[Any]) -> None:
        """Apply fixed gates."""
        for call, wires, matrix in self._of(gates):
            if matrix is None:
                call(wires, False, _NO_ANGLE)
            else:
                call(matrix, wires, False)

    def undo(self, gates: Sequence[Any]) -> None:
        """Apply their inverses, last gate first."""
        for call, wires, matrix in reversed(self._of(gates)):
            if matrix is None:
                call(wires, True, _NO_ANGLE)
            else:
                call(matrix, wires, True)

    def _of(self, gates: Sequence[Any]) -> list[tuple[Any, list[int], Any]]:
        # Keep the gates alive, so that no other list gets the same id.
        found = self._calls.get(id(gates))
        if found is None:
            calls = []
            for gate in gates:
                named = gate.name in FIXED_GATES
                matrix = None if named else np.ascontiguousarray(gate.matrix, dtype=self.c_dtype)
                calls.append((getattr(self._state, gate.name) if named else self.matrix, list(gate.wires), matrix))
            found = self._calls[id(gates)] = (gates, calls)
        return found[1]


_NO_ANGLE: list[float] = []


@lru_cache(maxsize=1)
def bindings_problem() -> str | None:
    """The first difference between Lightning's bindings and what this module expects, or None."""
    try:
        for c_dtype, tolerance in (("complex64", 1e-6), ("complex128", 1e-12)):
            state_vector = _state_vector_class(c_dtype)
            missing = [gate for gate in ROTATIONS + FIXED_GATES if not hasattr(state_vector, gate)]
            if missing:
                return f"{state_vector.__name__} has no {', '.join(missing)}"
            # RY(2a) then CNOT takes 2·|00⟩ to 2·cos a |00⟩ + 2·sin a |11⟩, and back again by their inverses.
            gates = [(Gate("rotation", (0,), "Y"), 0), (Gate("CNOT", (0, 1)), None)]
            register = Register(gates, 2, c_dtype)
            start = np.array([2, 0, 0, 0], dtype=c_dtype)
            seen = np.empty_like(start)
            register.load(start)
            register.apply([[0.6]])
            register.read(seen)
            if not np.allclose(seen, [2 * math.cos(0.3), 0, 0, 2 * math.sin(0.3)], rtol=0, atol=tolerance):
                return f"RY and CNOT on {state_vector.__name__} gave {seen.tolist()}"
            register.undo([[0.6]])
            register.read(seen)
            if not np.allclose(seen, start, rtol=0, atol=tolerance):
                return f"the inverses of RY and CNOT on {state_vector.__name__} gave {seen.tolist()}"
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _state_vector_class(c_dtype: str) -> Any:
    # Imported on first use: without the bindings the other simulators still work.
    from pennylane_lightning import lightning_qubit_ops

    return getattr(lightning_qubit_ops, _STATE_VECTORS[c_dtype])
