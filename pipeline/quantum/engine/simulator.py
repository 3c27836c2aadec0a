"""Values and gradients of a program for a batch of samples, on NumPy arrays.

In: angles and amplitudes of a batch. Out: expectation values and probabilities, and, from a loss's gradient with
respect to these, its gradient with respect to angles and amplitudes, by adjoint differentiation.

Amplitude s of sample b is entry (s, b) of a matrix of shape (2ⁿ, B): samples stand last, side by side. States need not
have norm 1, because everything is linear. A layer with an angle for each sample multiplies by phases. Layers that all
samples share are one matrix (``fused.py``), or run in Lightning's register, where the samples are further wires behind
those of the circuit (``register.py``). With λ = Σ g O Φ behind the circuit, Φ and λ go back through the same layers:
the derivative of a rotation exp(-iθP/2) is Im⟨λ|P|Φ⟩ at that gate.

Source of adjoint differentiation: T. Jones, J. Gacon, arXiv:2009.02823.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.quantum.engine.fronts import AmplitudeFront, ConstantFront, ProductFront, real_front
from pipeline.quantum.engine.fused import FusedSteps, fixed_matrix
from pipeline.quantum.engine.layers import Schedule
from pipeline.quantum.engine.observables import Observables
from pipeline.quantum.engine.phases import UnitPhases
from pipeline.quantum.engine.register import RegisterSteps
from pipeline.quantum.engine.runs import Runs
from pipeline.quantum.matrices import apply_matrix
from pipeline.quantum.program.program import Program

FUSED_QUBITS = 4
"""Wires up to which layers are matrices on all of them."""
BLOCK = 2**16
"""Amplitudes in one pass: 1 MiB of complex128, which fits into a core's own cache."""
KEEP = 2**20
"""Amplitudes kept for the backward pass; samples beyond these are computed again."""


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

    def part(self, samples: slice, width: int) -> Parameters:
        """The parameters of some samples, padded with zeros to ``width`` samples."""
        size = samples.stop - samples.start
        if size == self.batched.shape[1] == width:
            return self

        def cut(array: np.ndarray) -> np.ndarray:
            result = np.zeros((len(array), width), dtype=array.dtype)
            result[:, :size] = array[:, samples]
            return result

        matrices = []
        for matrix in self.matrices:
            if matrix.ndim == 3:
                padded = np.zeros((width, *matrix.shape[1:]), dtype=matrix.dtype)
                padded[:size] = matrix[samples]
                matrices.append(padded)
            else:
                matrices.append(matrix)
        amplitudes = None if self.amplitudes is None else cut(self.amplitudes)
        return Parameters(self.shared, cut(self.batched), amplitudes, matrices)


@dataclass
class Pass:
    """Forward pass of one block of samples, kept for the backward pass."""

    front: Any
    steps: Any
    outputs: np.ndarray


@dataclass
class Memory:
    """Memory for ``Simulator.backward``; ``passes`` has None for blocks to compute again."""

    parameters: Parameters
    n_samples: int
    prepared: Any
    passes: list[Pass | None]


class Simulator:
    """Values and gradients of one program.

    Args:
        program: The traced circuit.
        c_dtype: Precision of the states, ``complex128`` or ``complex64``.
    """

    def __init__(self, program: Program, c_dtype: str = "complex128") -> None:
        n_wires = self._n_wires = program.n_wires
        self._c_dtype = np.dtype(c_dtype)
        self._r_dtype = np.zeros(0, c_dtype).real.dtype
        self._observables = Observables(program.measurements, n_wires, self._r_dtype)
        self._n_batched = program.n_batched
        schedule, front = _real_start(program, self._r_dtype)
        self.is_real = front is not None
        dtype = self._r_dtype if self.is_real else self._c_dtype
        if schedule is None:
            schedule = Schedule(program)
        self._fused = n_wires <= FUSED_QUBITS
        self._front: Any = front
        if front is None and program.amplitudes is not None:
            self._front = AmplitudeFront(program.amplitudes, n_wires, dtype)
        elif front is None:
            state = np.zeros((2**n_wires, 1), dtype=complex)
            state[0] = 1
            for gate in schedule.fixed[0]:
                state = _applied(gate, state)
            schedule.fixed[0] = []
            self._front = ConstantFront(state[:, 0].astype(dtype))
        folds = self._fused and isinstance(self._front, ProductFront) and bool(schedule.fixed[0])
        if folds and self._front.fold(fixed_matrix(schedule.fixed[0], n_wires)):
            schedule.fixed[0] = []
        self._needs_units = any(layer.kind == "phases" for layer in schedule.layers)
        self._shares_units = any(
            parameter.kind == "shared" for layer in schedule.layers for _, parameter in layer.words
        )
        kind = FusedSteps if self._fused else RegisterSteps
        self._steps: Any = kind(schedule.layers, schedule.fixed, n_wires, program.n_shared, dtype)
        self._n_layers = 1 + len(schedule.layers)

    def forward(self, parameters: Parameters, n_samples: int, keep: bool = True) -> tuple[np.ndarray, Memory | None]:
        """Values (B, n_outputs), and the memory for ``backward`` if ``keep``.

        If no angle or amplitude differs between samples, one column is computed for all.
        """
        shared = parameters.shared
        values = np.empty((n_samples, self._observables.n_outputs), dtype=self._r_dtype)
        memory = Memory(parameters, n_samples, None, [])
        memory.prepared = self._steps.prepare_shared(shared)
        kept = 0
        for block in self._blocks(n_samples):
            done = self._pass(parameters, memory.prepared, block, keep)
            found = self._observables.values(done.outputs)
            values[block] = found[: block.stop - block.start]
            kept += done.outputs.size * self._n_layers
            memory.passes.append(done if keep and (kept <= KEEP or not memory.passes) else None)
        return values, memory if keep else None

    def backward(self, memory: Memory, upstream: np.ndarray) -> Parameters:
        """The gradient of all parameters, from the values' gradient (B, n_outputs)."""
        parameters = memory.parameters
        gradient = Parameters(
            np.zeros(len(parameters.shared), dtype=self._r_dtype),
            np.zeros(parameters.batched.shape, dtype=self._r_dtype),
            matrices=[np.zeros(matrix.shape, dtype=self._c_dtype) for matrix in parameters.matrices],
        )
        blocks = self._blocks(memory.n_samples)
        whole = len(blocks) == 1
        if parameters.amplitudes is not None:
            gradient.amplitudes = np.zeros(parameters.amplitudes.shape, dtype=self._c_dtype)
        for block, kept in zip(blocks, memory.passes, strict=True):
            done = kept or self._pass(parameters, memory.prepared, block, True)
            width = done.outputs.shape[1]
            part = upstream[block]
            if len(part) > width:
                part = part.sum(axis=0, keepdims=True)
            elif len(part) < width:
                part = np.concatenate([part, np.zeros((width - len(part), part.shape[1]), dtype=part.dtype)])
            adjoint = self._observables.adjoint(done.outputs, part)
            size = block.stop - block.start
            same = whole and self._width(size) == size
            target = (
                gradient
                if same
                else Parameters(
                    gradient.shared,
                    np.zeros((len(parameters.batched), self._width(size)), dtype=self._r_dtype),
                    matrices=[
                        np.zeros((self._width(size), *m.shape[1:]), dtype=m.dtype) if m.ndim == 3 else m
                        for m in gradient.matrices
                    ],
                )
            )
            start = self._steps.backward(done.steps, adjoint, target, self._front.needs_adjoint)
            self._front.add_gradient(done.front, start, target)
            if not same:
                gradient.batched[:, block] = target.batched[:, :size]
                if gradient.amplitudes is not None and target.amplitudes is not None:
                    gradient.amplitudes[:, block] = target.amplitudes[:, :size]
                for whole_matrix, part_matrix in zip(gradient.matrices, target.matrices, strict=True):
                    if whole_matrix.ndim == 3:
                        whole_matrix[block] = part_matrix[:size]
        return gradient

    def _pass(self, parameters: Parameters, prepared: Any, block: slice, keep: bool) -> Pass:
        part = parameters.part(block, self._width(block.stop - block.start))
        states, front = self._front.load(part)
        units = None
        if self._needs_units:
            units = UnitPhases(part.batched, part.shared if self._shares_units else None, self._c_dtype)
        outputs, steps = self._steps.forward(prepared, states, units, part.matrices, keep)
        return Pass(front, steps, outputs)

    def _blocks(self, n_samples: int) -> list[slice]:
        """Samples that go through the circuit together: as many as fill one block."""
        size = max(2, BLOCK >> self._n_wires)
        return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]

    def _width(self, n_samples: int) -> int:
        """Columns for a number of samples: in the register, the next power of two."""
        return n_samples if self._fused else max(2, 1 << (n_samples - 1).bit_length())


def _real_start(program: Program, dtype: np.dtype) -> tuple[Schedule | None, ProductFront | None]:
    """The schedule behind a real product front, and the front; (None, None) where the states are complex."""
    if program.amplitudes is not None:
        return None, None
    schedule = Schedule(program)
    found = real_front(schedule, program.n_wires, program.n_batched)
    if found is None or any(layer.kind != "wires" for layer in schedule.layers):
        return None, None
    if any(
        np.abs(gate.matrix.imag).max() > 1e-14 for gates in schedule.fixed for gate in gates if gate.matrix is not None
    ):
        return None, None
    if not Runs(schedule.layers, program.n_wires, program.n_shared).is_real:
        return None, None
    return schedule, ProductFront(*found, dtype)


def _applied(gate: Any, state: np.ndarray) -> np.ndarray:
    return apply_matrix(gate.matrix, gate.wires, state)
