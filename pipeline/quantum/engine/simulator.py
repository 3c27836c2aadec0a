"""Values and gradients of a program for a batch of samples, on NumPy arrays.

In: angles and amplitudes of a batch. Out: expectation values and probabilities, and, from a loss's gradient with
respect to these, its gradient with respect to angles and amplitudes, by adjoint differentiation.

Amplitude s of sample b is entry (s, b) of a matrix of shape (2ⁿ, B): samples stand last, side by side. States need not
have norm 1, because everything is linear. A layer with an angle for each sample multiplies by phases. Layers that all
samples share are one matrix (``fused.py``), or run in Lightning's register, where the samples are further wires behind
those of the circuit (``register.py``; ``packed.py`` for circuits of real gates). With λ = Σ g O Φ behind the circuit, Φ
and λ go back through the same layers: the derivative of a rotation exp(-iθP/2) is Im⟨λ|P|Φ⟩ at that
gate.

Source of adjoint differentiation: T. Jones, J. Gacon, arXiv:2009.02823.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.quantum.engine.fronts import AmplitudeFront, ConstantFront, ProductFront, product_front
from pipeline.quantum.engine.fused import FusedSteps
from pipeline.quantum.engine.layers import Schedule
from pipeline.quantum.engine.observables import Observables
from pipeline.quantum.engine.packed import PackedSteps
from pipeline.quantum.engine.phases import UnitPhases
from pipeline.quantum.engine.register import RegisterSteps
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

        matrices = [
            m if m.ndim == 2 else cut(m.reshape(len(m), -1).T).T.reshape(-1, *m.shape[1:]) for m in self.matrices
        ]
        amplitudes = None if self.amplitudes is None else cut(self.amplitudes)
        return Parameters(self.shared, cut(self.batched), amplitudes, matrices)

    @classmethod
    def joined(cls, parts: Sequence[Parameters], n_samples: int) -> Parameters:
        """Gradients of successive blocks of samples, without their padding, as one."""
        first = parts[0]
        if len(parts) == 1 and first.batched.shape[1] == n_samples:
            return first
        sizes = [part.batched.shape[1] for part in parts[:-1]]
        sizes.append(n_samples - sum(sizes))
        amplitudes = None
        if first.amplitudes is not None:
            amplitudes = np.concatenate([p.amplitudes[:, :n] for p, n in zip(parts, sizes, strict=True)], axis=1)  # type: ignore[index]
        return cls(
            np.add.reduce([part.shared for part in parts]),
            np.concatenate([part.batched[:, :size] for part, size in zip(parts, sizes, strict=True)], axis=1),
            amplitudes,
            [
                np.add.reduce(of_gate)
                if of_gate[0].ndim == 2
                else np.concatenate([matrix[:size] for matrix, size in zip(of_gate, sizes, strict=True)])
                for of_gate in zip(*(part.matrices for part in parts), strict=True)
            ],
        )


@dataclass
class Pass:
    """Forward pass of one block of samples, kept for the backward pass."""

    parameters: Parameters
    front: Any
    steps: Any
    outputs: np.ndarray


@dataclass
class Memory:
    """Memory for ``Simulator.backward``; ``passes`` has None for blocks to compute again."""

    parameters: Parameters
    prepared: Any
    blocks: list[slice]
    passes: list[Pass | None]


class Simulator:
    """Values and gradients of one program.

    Args:
        program: The traced circuit.
        c_dtype: Precision of the states, ``complex128`` or ``complex64``.
    """

    def __init__(self, program: Program, c_dtype: str = "complex128") -> None:
        _keep_freed_memory()
        n_wires = self._n_wires = program.n_wires
        self._c_dtype = np.dtype(c_dtype)
        self._r_dtype = np.zeros(0, c_dtype).real.dtype
        self._observables = Observables(program.measurements, n_wires, self._r_dtype)
        schedule, self._front = _real_start(program, self._r_dtype)
        self.is_real = schedule is not None
        if schedule is None:
            schedule = Schedule(program)
            self._front = _complex_front(program, schedule, self._r_dtype, self._c_dtype)
        dtype = self._r_dtype if self.is_real else self._c_dtype
        self._pads = not self.is_real and n_wires > FUSED_QUBITS
        self._needs_units = any(layer.kind == "phases" for layer in schedule.layers)
        self._shares_units = any(
            parameter.kind == "shared" for layer in schedule.layers for _, parameter in layer.words
        )
        kind: Any = PackedSteps if self.is_real else RegisterSteps if self._pads else FusedSteps
        self._steps = kind(schedule.layers, schedule.fixed, n_wires, program.n_shared, dtype)
        # Of real circuits only the states behind all steps are kept.
        self._n_kept = 1 if self.is_real else 1 + len(schedule.layers)

    def forward(self, parameters: Parameters, n_samples: int, keep: bool = True) -> tuple[np.ndarray, Memory | None]:
        """Values (B, n_outputs), and the memory for ``backward`` if ``keep``.

        If no angle or amplitude differs between samples, one column is computed for all.
        """
        prepared = self._steps.prepare_shared(parameters.shared, n_samples if self._front.needs_adjoint else 1)
        memory = Memory(parameters, prepared, self._blocks(n_samples), [])
        values = []
        kept = 0
        for block in memory.blocks:
            done = self._pass(memory, block, keep)
            kept += done.outputs.size * self._n_kept
            memory.passes.append(done if keep and (kept <= KEEP or not memory.passes) else None)
            values.append(self._values(done.outputs, block.stop - block.start))
        return values[0] if len(values) == 1 else np.concatenate(values), memory if keep else None

    def backward(
        self, memory: Memory, upstream: np.ndarray, need_batched: bool = True, need_shared: bool = True
    ) -> Parameters:
        """The gradient of all parameters, from the values' gradient (B, n_outputs).

        Shared angles' gradients may be missing without ``need_shared``, samples' own without ``need_batched``.
        """
        parts = [
            self._gradient(kept or self._pass(memory, block, True), upstream[block], need_batched, need_shared)
            for block, kept in zip(memory.blocks, memory.passes, strict=True)
        ]
        gradient = Parameters.joined(parts, len(upstream))
        self._steps.finish(memory.prepared, gradient)
        return gradient

    def _pass(self, memory: Memory, block: slice, keep: bool) -> Pass:
        part = memory.parameters.part(block, self._width(block.stop - block.start))
        states, front = self._front.load(part)
        units = None
        if self._needs_units:
            units = UnitPhases(part.batched, part.shared if self._shares_units else None, self._c_dtype)
        outputs, steps = self._steps.forward(memory.prepared, states, units, part.matrices, keep)
        return Pass(part, front, steps, outputs)

    def _values(self, outputs: np.ndarray, n_samples: int) -> np.ndarray:
        values = self._observables.values(outputs)
        if len(values) == n_samples:
            return values
        return values[:n_samples] if len(values) > n_samples else np.repeat(values, n_samples, axis=0)

    def _gradient(self, done: Pass, upstream: np.ndarray, need_batched: bool, need_shared: bool) -> Parameters:
        """The gradient of the parameters of one block."""
        parameters, n_columns = done.parameters, done.outputs.shape[1]
        gradient = Parameters(
            np.zeros(len(parameters.shared), dtype=self._r_dtype),
            np.zeros(parameters.batched.shape, dtype=self._r_dtype),
            None if parameters.amplitudes is None else np.zeros(parameters.amplitudes.shape, dtype=self._c_dtype),
            [np.zeros(matrix.shape, dtype=self._c_dtype) for matrix in parameters.matrices],
        )
        if len(upstream) > n_columns:
            upstream = upstream.sum(axis=0, keepdims=True)
        elif len(upstream) < n_columns:
            padding = np.zeros((n_columns - len(upstream), upstream.shape[1]), dtype=upstream.dtype)
            upstream = np.concatenate([upstream, padding])
        adjoint = self._observables.adjoint(done.outputs, upstream)
        if self.is_real:
            # Of real states only the real part counts: Φ moves along real directions.
            adjoint = adjoint.real
        need_start = need_batched and self._front.needs_adjoint
        start = self._steps.backward(done.steps, adjoint, gradient, need_start, need_shared)
        if need_start:
            self._front.add_gradient(done.front, start, gradient)
        return gradient

    def _blocks(self, n_samples: int) -> list[slice]:
        """Samples that go through the circuit together: as many as fill one block."""
        size = max(2, BLOCK >> self._n_wires)
        return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]

    def _width(self, n_samples: int) -> int:
        """Columns for a number of samples: the next power of two, where they go through the register as they are."""
        return max(2, 1 << (n_samples - 1).bit_length()) if self._pads else n_samples


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """Have the C library keep the memory of one pass for the next, where it would return it to the system.

    glibc gives back what is free at the end of its heap, from 256 KiB on; getting it again, page by page, doubles the
    time of a pass on 8 wires. It stops once the program has freed a large array: then it keeps up to 64 MiB
    (mallopt(3), "dynamic mmap threshold"). This array is never touched, so it takes no memory.
    """
    np.empty(2**25 - 2**16, dtype=np.uint8)


def _real_start(program: Program, dtype: np.dtype) -> tuple[Schedule | None, Any]:
    """The schedule and front of a circuit of real gates; (None, None) where states are complex."""
    schedule = Schedule(program, run=1)
    found = None
    if program.amplitudes is None:
        found = product_front(schedule, program.n_wires, program.n_batched)
    elif program.amplitudes.traced:
        return None, None
    runs = [element for layer in schedule.layers for run in layer.runs.values() for element in run]
    matrices = [element for element in runs if isinstance(element, np.ndarray)]
    matrices += [gate.matrix for gates in schedule.fixed for gate in gates if gate.matrix is not None]
    if (
        any(layer.kind != "wires" for layer in schedule.layers)
        or any(isinstance(element, tuple) and element[0] != "Y" for element in runs)
        or any(np.abs(matrix.imag).max() > 1e-14 for matrix in matrices)
    ):
        return None, None
    if found is not None:
        return (None, None) if np.iscomplexobj(found[0]) else (schedule, ProductFront(*found, dtype))
    if program.amplitudes is not None:
        return schedule, AmplitudeFront(program.amplitudes, program.n_wires, dtype)
    return schedule, ConstantFront(np.eye(1, 2**program.n_wires, dtype=dtype)[0])


def _complex_front(program: Program, schedule: Schedule, r_dtype: np.dtype, dtype: np.dtype) -> Any:
    """Amplitudes, product states, or |0…0⟩; it takes its gates out of the schedule."""
    if program.amplitudes is not None:
        return AmplitudeFront(program.amplitudes, program.n_wires, dtype)
    # Phases that come again are cheaper as phases: all layers share them.
    if sum(layer.kind == "phases" for layer in schedule.layers) == 1:
        found = product_front(schedule, program.n_wires, program.n_batched)
        if found is not None:
            return ProductFront(*found, r_dtype)
    state = np.eye(2**program.n_wires, 1, dtype=complex)
    for gate in schedule.fixed[0]:
        assert gate.matrix is not None
        state = apply_matrix(gate.matrix, gate.wires, state)
    schedule.fixed[0] = []
    return ConstantFront(state[:, 0].astype(dtype))
