"""A program in torch's own operations: many heads at once, any device, derivatives of any order, any transform.

In: inputs of shape (heads, B, n_inputs) and each head's weights (heads, n_weights). Out: values (heads, B, n_outputs).
Circuits of few wires are a chain of fixed matrices and phases (``chained.py``), others go layer by layer
(``layered.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pipeline.quantum.dense.chained import Chained
from pipeline.quantum.dense.layered import Layered
from pipeline.quantum.dense.tensors import Constants, apply, monomials, places
from pipeline.quantum.engine.chain import fits
from pipeline.quantum.engine.observables import eigenvalues, pauli_action
from pipeline.quantum.program.program import Program

_DTYPES = (torch.float32, torch.float64)


class Dense:
    """Values of one program for a batch of each of many heads. Copies share its tables, by dtype and device.

    Args:
        program: The traced circuit.
        traced: Gate parameters of inputs (B, n_inputs) and weights (n_weights,) by tracing, as ``Engine.traced``.

    Attributes:
        c_dtype: Precision of the states on arrays of float64.
    """

    c_dtype = "complex128"

    def __init__(self, program: Program, traced: Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]) -> None:
        self.program, self.n_outputs = program, program.n_outputs
        self._traced = traced
        n = self._n = program.n_wires
        self._constants = Constants()
        self._steps = Chained(program) if fits(program) else Layered(program)
        for k, measured in enumerate(program.measurements):
            if measured.is_diagonal:
                self._constants["diagonal", k] = eigenvalues(measured, n)
            elif measured.kind == "pauli":
                self._constants["rows", k], self._constants["factors", k] = pauli_action(measured, n)
            elif measured.kind == "hermitian":
                assert measured.matrix is not None
                self._constants["hermitian", k] = measured.matrix
        tables = [("diagonal", k) for k in range(len(program.measurements))]
        if all(key in self._constants for key in tables):
            self._constants["all diagonal"] = np.array([self._constants[key] for key in tables])
        if program.amplitudes is not None:
            self._constants["places"] = places(program.amplitudes.wires, n)
        if program.polynomials is not None:
            for kind in ("shared", "batched"):
                names = ("constants", "linear", "pairs", "products")
                for name, array in zip(names, program.polynomials.coefficients(kind), strict=True):
                    self._constants[kind, name] = array

    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Values of shape (heads, B, n_outputs), in the dtype and on the device of the inputs.

        Args:
            inputs: Shape (heads, B, n_inputs), floating.
            weights: Shape (heads, n_weights), on the same device.
        """
        dtype = inputs.dtype if inputs.dtype in _DTYPES else torch.float32
        # Angles and states are as precise as their dtype, under autocast too.
        with torch.autocast(inputs.device.type, enabled=False):
            values = self._measure(self.states(inputs.to(dtype), weights.to(dtype)))
        return values.expand(inputs.shape[0], inputs.shape[1], self.n_outputs).to(inputs.dtype)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, Any]:
        """The same on arrays, with or without a heads axis: values, and the memory for ``backward`` if ``keep``."""
        leaves = [torch.from_numpy(np.ascontiguousarray(array)).requires_grad_(keep) for array in (inputs, weights)]
        leaves[1] = leaves[1].detach().to(leaves[0].dtype).requires_grad_(keep)
        with torch.set_grad_enabled(keep):
            values = self(*leaves) if inputs.ndim == 3 else self(leaves[0][None], leaves[1][None])[0]
        return values.detach().numpy(), (values, leaves) if keep else None

    def backward(
        self, memory: Any, upstream: np.ndarray, need_inputs: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of inputs and weights, from the values' gradient; None where not needed."""
        values, leaves = memory
        by_inputs, by_weights = backward_through(values, leaves, upstream, (need_inputs, need_weights))
        return by_inputs, by_weights

    def states(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """States behind all gates, (heads or 1, 2ⁿ, B or 1): complex, or real where the circuit is a real chain.

        Args:
            inputs: Shape (heads, B, n_inputs), float32 or float64.
            weights: Shape (heads, n_weights), of the same dtype and device.
        """
        program = self.program
        if program.polynomials is None:
            heads = [self._traced(*pair) for pair in zip(inputs.unbind(), weights.unbind(), strict=True)]
            shared, batched, *matrices = (torch.stack(parts) for parts in zip(*heads, strict=True))
            amplitudes = None if program.amplitudes is None else self._placed(matrices.pop())
            return self._steps(shared.to(inputs.dtype), batched.to(inputs.dtype), matrices, amplitudes)
        spec, amplitudes = program.amplitudes, None
        if spec is not None:
            n_missing = 2 ** len(spec.wires) - program.n_inputs
            rows = torch.nn.functional.pad(inputs, (0, n_missing), value=spec.pad or 0.0).mT
            amplitudes = self._placed(rows / rows.norm(dim=1, keepdim=True) if spec.normalise else rows)
        return self._steps(*self._angles(inputs, weights), [], amplitudes)

    def _placed(self, amplitudes: torch.Tensor) -> torch.Tensor:
        """Amplitudes on some wires as states of all."""
        padded = torch.cat([amplitudes, torch.zeros_like(amplitudes[:, :1])], dim=1)
        return padded.index_select(1, self._constants.tensor("places", amplitudes))

    def _angles(self, inputs: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shared angles (heads, n_shared) and batched ones (heads, n_batched, B)."""
        polynomials, n, table = self.program.polynomials, self.program.n_inputs, self._constants.tensor
        assert polynomials is not None
        shared, batched = weights, inputs
        if not polynomials.plain_weights:
            shared = weights @ table(("shared", "linear"), inputs)[:, n:].T + table(("shared", "constants"), inputs)
            pairs = table(("shared", "pairs"), inputs)
            if len(pairs):
                shared = shared + monomials(weights, pairs - n) @ table(("shared", "products"), inputs).T
        if not polynomials.plain_inputs:
            by_inputs, by_weights = table(("batched", "linear"), inputs).T.split((n, weights.shape[1]))
            by_head = weights @ by_weights + table(("batched", "constants"), inputs)
            batched = inputs @ by_inputs + by_head[:, None]
            pairs = table(("batched", "pairs"), inputs)
            if len(pairs):
                both = torch.cat([inputs, weights[:, None].expand(-1, inputs.shape[1], -1)], dim=-1)
                batched = batched + monomials(both, pairs) @ table(("batched", "products"), inputs).T
        return shared, batched.mT

    def _measure(self, states: torch.Tensor) -> torch.Tensor:
        """Shape (heads or 1, B or 1, n_outputs)."""
        probabilities = states.real.square() + states.imag.square() if states.is_complex() else states.square()
        if "all diagonal" in self._constants:
            return (self._constants.tensor("all diagonal", probabilities) @ probabilities).mT
        values = []
        for k, measured in enumerate(self.program.measurements):
            if measured.kind == "probs":
                tensor = probabilities.reshape(len(states), *[2] * self._n, -1)
                rest = [1 + wire for wire in range(self._n) if wire not in measured.wires]
                summed = tensor.sum(dim=rest) if rest else tensor
                order = np.argsort(np.argsort(measured.wires))
                values.append(
                    summed.movedim([1 + int(i) for i in order], list(range(1, 1 + len(order)))).flatten(1, -2)
                )
            elif ("diagonal", k) in self._constants:
                values.append(self._constants.tensor(("diagonal", k), probabilities)[None] @ probabilities)
            else:
                if measured.kind == "pauli":
                    rows = self._constants.tensor(("rows", k), states)
                    factors = self._constants.tensor(("factors", k), states, is_complex=True)
                    applied = sum(factor[:, None] * states[:, row] for factor, row in zip(factors, rows, strict=True))
                else:
                    matrix = self._constants.tensor(("hermitian", k), states, is_complex=True)
                    applied = apply(matrix, measured.wires, states.to(matrix.dtype), self._n)
                values.append((states.conj() * applied).sum(dim=1, keepdim=True).real)
        return torch.cat([value.reshape(len(states), -1, states.shape[2]) for value in values], dim=1).mT


def backward_through(
    values: torch.Tensor, leaves: Sequence[torch.Tensor], upstream: np.ndarray, needed: Sequence[bool]
) -> list[Any]:
    """Gradients of leaves by torch's own graph, as arrays; None where not needed."""
    wanted = [leaf for leaf, is_needed in zip(leaves, needed, strict=True) if is_needed]
    if values.requires_grad:
        # As a scalar: torch imports SymPy, for a second, where it is given an upstream gradient.
        with torch.enable_grad():
            total = (values * torch.from_numpy(np.ascontiguousarray(upstream)).to(values.dtype)).sum()
        gradients = iter(torch.autograd.grad(total, wanted, retain_graph=True, materialize_grads=True))
    else:
        gradients = iter([torch.zeros_like(leaf) for leaf in wanted])
    # Detached: of a leaf that nothing depends on, torch 2.6 gives zeros that need a gradient.
    return [next(gradients).detach().numpy() if is_needed else None for is_needed in needed]
