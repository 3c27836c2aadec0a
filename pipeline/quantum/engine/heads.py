"""Many heads of one program side by side, on NumPy arrays, each with inputs and weights of its own.

In: inputs of shape (heads, B, n_inputs) and weights (heads, n_weights). Out: values (heads, B, n_outputs),
and gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.quantum.engine.chain import Chain
from pipeline.quantum.engine.fronts import InitialStates
from pipeline.quantum.matrices import rows_of
from pipeline.quantum.program.polynomial import Angles
from pipeline.quantum.program.program import Program


@dataclass
class Memory:
    """Memory for ``Heads.backward``: inputs and weights as columns, the amplitudes, and the chain's memory."""

    inputs: np.ndarray
    weights: np.ndarray
    initial: InitialStates | None
    of_chain: Any


class Heads:
    """Values and gradients of many heads, in the dtype of their inputs.

    Args:
        program: A circuit that fits a chain.
    """

    def __init__(self, program: Program) -> None:
        assert program.polynomials is not None
        self._program, self._polynomials = program, program.polynomials
        self._chain = Chain(program)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, Memory | None]:
        """Values (heads, B, n_outputs), and the memory for ``backward`` if ``keep``."""
        n_heads, n_samples, n_inputs = inputs.shape
        columns, by_head = inputs.transpose(2, 1, 0).reshape(n_inputs, -1), weights.astype(inputs.dtype, copy=False).T
        angles = self._polynomials(columns, by_head)
        initial = amplitudes = None
        spec = self._program.amplitudes
        if spec is not None:
            initial = InitialStates(spec, columns, n_heads)
            amplitudes = np.zeros((2**self._program.n_wires, columns.shape[1]), dtype=columns.dtype)
            amplitudes[rows_of(spec.wires, self._program.n_wires)] = initial.states
        shared, batched = (array.astype(inputs.dtype, copy=False) for array in angles)
        values, memory = self._chain.forward(shared, batched, amplitudes, n_samples, keep)
        values = values.reshape(n_samples, n_heads, -1).swapaxes(0, 1)
        return values, Memory(columns, by_head, initial, memory) if keep else None

    def backward(
        self, memory: Memory, upstream: np.ndarray, need_inputs: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of inputs and weights, in their shapes, from the values' gradient; None where not needed."""
        n_heads, n_samples, n_outputs = upstream.shape
        columns = upstream.swapaxes(0, 1).reshape(-1, n_outputs).astype(memory.inputs.dtype, copy=False)
        shared, batched, start = self._chain.backward(memory.of_chain, columns, n_heads)
        by_inputs, by_weights = self._polynomials.gradients(
            memory.inputs, memory.weights, Angles(shared, batched), need_inputs, need_weights
        )
        if memory.initial is not None and start is not None and by_inputs is not None:
            assert self._program.amplitudes is not None
            rows = rows_of(self._program.amplitudes.wires, self._program.n_wires)
            by_inputs = by_inputs + memory.initial.gradient(start[rows])
        if by_inputs is not None:
            by_inputs = by_inputs.reshape(-1, n_samples, n_heads).transpose(2, 1, 0)
        return by_inputs, None if by_weights is None else by_weights.T


class HeadByHead:
    """The same interface for circuits of more wires, or with traced angles: an engine runs one head after the other.

    Args:
        engine: As ``Engine``.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def forward(self, inputs: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, list[Any]]:
        """As ``Heads.forward``, in the precision of the engine."""
        pairs = [self._engine.forward(*of_head, keep) for of_head in zip(inputs, weights, strict=True)]
        return np.stack([values for values, _ in pairs]), [memory for _, memory in pairs]

    def backward(
        self, memory: list[Any], upstream: np.ndarray, need_inputs: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """As ``Heads.backward``."""
        pairs = [
            self._engine.backward(*of_head, need_inputs, need_weights) for of_head in zip(memory, upstream, strict=True)
        ]
        by_inputs, by_weights = zip(*pairs, strict=True)
        return np.stack(by_inputs) if need_inputs else None, np.stack(by_weights) if need_weights else None
