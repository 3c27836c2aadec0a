"""Values and gradients of a program for a batch of samples, on NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.quantum.matrices import apply_matrix, pauli_word
from pipeline.quantum.observables import Observables
from pipeline.quantum.program import Program


@dataclass
class Parameters:
    """Gate parameters of a batch, or a loss's gradient with respect to them.

    Attributes:
        shared: Angles of all samples, shape (n_shared,).
        batched: Angles a sample, shape (n_batched, B).
        amplitudes: Initial states, shape (2^k, B); None for |0…0⟩.
        matrices: Of gates without an angle, shape (d, d), or (B, d, d).
    """

    shared: np.ndarray
    batched: np.ndarray
    amplitudes: np.ndarray | None = None
    matrices: list[np.ndarray] = field(default_factory=list)


class Simulator:
    """Gate by gate."""

    def __init__(self, program: Program, c_dtype: str = "complex128") -> None:
        self.program = program
        self._dtype = np.dtype(c_dtype)
        self._observables = Observables(program.measurements, program.n_wires, np.zeros(0, c_dtype).real.dtype)
        self._words = [pauli_word(gate.word) for gate in program.gates]

    def forward(self, parameters: Parameters, n_samples: int, keep: bool = True) -> tuple[np.ndarray, Any]:
        """Values (B, n_outputs), and what ``backward`` needs if ``keep``."""
        states = self._start(parameters, n_samples)
        for k in range(len(self.program.gates)):
            states = self._apply(k, parameters, states, False)
        return self._observables.values(states), (parameters, states) if keep else None

    def backward(self, memory: Any, upstream: np.ndarray) -> Parameters:
        """The gradient of all parameters."""
        parameters, states = memory
        adjoint = self._observables.adjoint(states, upstream)
        gradient = Parameters(
            np.zeros_like(parameters.shared),
            np.zeros_like(parameters.batched),
            matrices=[np.zeros_like(matrix) for matrix in parameters.matrices],
        )
        for k in reversed(range(len(self.program.gates))):
            gate, parameter = self.program.gates[k], self.program.parameters[k]
            if parameter is not None and parameter.kind != "matrix":
                applied = apply_matrix(self._words[k], gate.wires, states)
                slopes = np.einsum("sb,sb->b", adjoint.conj(), applied).imag
                if parameter.kind == "shared":
                    gradient.shared[parameter.index] += slopes.sum()
                else:
                    gradient.batched[parameter.index] += slopes
            before = self._apply(k, parameters, states, True)
            if parameter is not None and parameter.kind == "matrix":
                n, d = self.program.n_wires, 2 ** len(gate.wires)
                bra, ket = (
                    np.moveaxis(s.reshape([2] * n + [-1]), gate.wires, range(len(gate.wires))).reshape(
                        d, -1, s.shape[1]
                    )
                    for s in (adjoint, before)
                )
                slope = 2 * np.einsum("irb,jrb->bij", bra, ket.conj())
                of = parameters.matrices[parameter.index]
                gradient.matrices[parameter.index] += slope if of.ndim == 3 else slope.sum(axis=0)
            states = before
            adjoint = self._apply(k, parameters, adjoint, True)
        if parameters.amplitudes is not None:
            gradient.amplitudes = 2 * self._rows(adjoint)
        return gradient

    def _start(self, parameters: Parameters, n_samples: int) -> np.ndarray:
        dim = 2**self.program.n_wires
        states = np.zeros((dim, n_samples), dtype=self._dtype)
        if parameters.amplitudes is None:
            states[0] = 1
        else:
            self._rows(states, parameters.amplitudes)
        return states

    def _rows(self, states: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        assert self.program.amplitudes is not None
        n, wires = self.program.n_wires, self.program.amplitudes.wires
        index = np.zeros(2 ** len(wires), dtype=int)
        for place, wire in enumerate(wires):
            index |= (np.arange(len(index)) >> (len(wires) - 1 - place) & 1) << (n - 1 - wire)
        if values is not None:
            states[index] = values
        return states[index]

    def _apply(self, k: int, parameters: Parameters, states: np.ndarray, inverse: bool) -> np.ndarray:
        gate, parameter = self.program.gates[k], self.program.parameters[k]
        if parameter is None:
            assert gate.matrix is not None
            matrix = gate.matrix.conj().T if inverse else gate.matrix
            return apply_matrix(matrix, gate.wires, states)
        if parameter.kind == "matrix":
            matrix = parameters.matrices[parameter.index]
            return apply_matrix(matrix.conj().swapaxes(-1, -2) if inverse else matrix, gate.wires, states)
        angle = (parameters.shared if parameter.kind == "shared" else parameters.batched)[parameter.index]
        angle = -angle if inverse else angle
        return np.cos(angle / 2) * states - 1j * np.sin(angle / 2) * apply_matrix(self._words[k], gate.wires, states)
