"""A program in torch's own operations: many heads at once, any device, derivatives of any order, any transform.

In: inputs of shape (heads, B, n_inputs) and each head's weights (heads, n_weights). Out: values (heads, B, n_outputs).
States are of shape (heads, 2ⁿ, B). Layers are those of ``layers.py``: the runs of a few neighbouring wires are one
matrix a head, words of Z are phases, and fixed gates are a permutation or a matrix on all wires.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from pipeline.quantum.engine.fused import fixed_matrix
from pipeline.quantum.engine.layers import Layer, Schedule
from pipeline.quantum.engine.observables import eigenvalues, pauli_action
from pipeline.quantum.engine.runs import run_terms
from pipeline.quantum.matrices import z_signs
from pipeline.quantum.program.program import Program
from pipeline.quantum.program.tape import Gate

GROUP = 3
"""Wires whose runs are multiplied out to one matrix of 8 × 8."""
MATRIX_QUBITS = 8
"""Wires up to which the fixed gates between two layers are one matrix."""
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class Dense:
    """Values of one program for a batch of each of many heads. Copies share its tables, by dtype and device.

    Args:
        program: The traced circuit.
        traced: Gate parameters of inputs (B, n_inputs) and weights (n_weights,) by tracing, as ``Engine.traced``.
    """

    def __init__(self, program: Program, traced: Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]) -> None:
        self.program, self.n_outputs = program, program.n_outputs
        self._traced = traced
        n = self._n = program.n_wires
        schedule = Schedule(program)
        self._tables: dict[tuple[Any, torch.dtype, torch.device], torch.Tensor] = {}
        self._arrays: dict[Any, np.ndarray] = {}
        self._layers = schedule.layers
        self._fixed = [self._merged(place, gates) for place, gates in enumerate(schedule.fixed)]
        wires = [layer for layer in schedule.layers if layer.kind == "wires"]
        self._add_runs(wires)
        for layer in schedule.layers:
            if layer.kind == "phases":
                self._add_signs(layer)
        for k, measured in enumerate(program.measurements):
            if measured.kind == "pauli" and all(letter == "Z" for _, word in measured.terms for _, letter in word):
                self._arrays["diagonal", k] = eigenvalues(measured, n)
            elif measured.kind == "pauli":
                self._arrays["rows", k], self._arrays["factors", k] = pauli_action(measured, n)
            elif measured.kind == "hermitian":
                assert measured.matrix is not None
                self._arrays["hermitian", k] = measured.matrix
        if program.amplitudes is not None:
            self._arrays["places"] = _places(program.amplitudes.wires, n)
        if program.polynomials is not None:
            for kind in ("shared", "batched"):
                names = ("constants", "linear", "pairs", "products")
                for name, array in zip(names, program.polynomials.coefficients(kind), strict=True):
                    self._arrays[kind, name] = array

    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Values of shape (heads, B, n_outputs), in the dtype and on the device of the inputs.

        Args:
            inputs: Shape (heads, B, n_inputs), floating.
            weights: Shape (heads, n_weights), on the same device.
        """
        dtype = inputs.dtype if inputs.dtype in _COMPLEX else torch.float32
        # Angles and states are as precise as their dtype, under autocast too.
        with torch.autocast(inputs.device.type, enabled=False):
            values = self._values(inputs.to(dtype), weights.to(dtype))
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
        return backward_through(values, leaves, upstream, (need_inputs, need_weights))

    def _values(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Shape (heads or 1, B or 1, n_outputs)."""
        states, (shared, batched, matrices) = self._start(inputs, weights)
        runs = self._run_matrices(shared)
        phases: dict[Any, torch.Tensor] = {}
        k = 0
        for place, gates in enumerate(self._fixed):
            for fixed in gates:
                states = self._apply_fixed(fixed, states)
            if place == len(self._layers):
                break
            layer = self._layers[place]
            if layer.kind == "wires":
                states = self._apply_runs([group[:, k] for group in runs], states)
                k += 1
            elif layer.kind == "phases":
                key = _key(layer)
                if key not in phases:
                    phases[key] = self._phases(key, shared, batched)
                states = states * phases[key]
            else:
                assert layer.gate is not None
                gate, parameter = layer.gate
                states = _apply(matrices[parameter.index].to(states.dtype), gate.wires, states, self._n)
        return self._measure(states)

    def _start(
        self, inputs: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]]:
        """The initial states, of shape (heads or 1, 2ⁿ, B or 1), and shared angles, batched angles and matrices."""
        program, like = self.program, inputs
        amplitudes: torch.Tensor | None = None
        if program.polynomials is None:
            heads = [self._traced(*pair) for pair in zip(inputs.unbind(), weights.unbind(), strict=True)]
            shared, batched, *matrices = (torch.stack(parts) for parts in zip(*heads, strict=True))
            if program.amplitudes is not None:
                amplitudes = matrices.pop()
            shared, batched = shared.to(like.dtype), batched.to(like.dtype)
        else:
            shared, batched, matrices = *self._angles(inputs, weights), []
            spec = program.amplitudes
            if spec is not None:
                n_missing = 2 ** len(spec.wires) - program.n_inputs
                rows = torch.nn.functional.pad(inputs, (0, n_missing), value=spec.pad or 0.0).mT
                amplitudes = rows / rows.norm(dim=1, keepdim=True) if spec.normalise else rows
        dtype = _COMPLEX[like.dtype]
        if amplitudes is None:
            states = torch.zeros(1, 2**self._n, 1, dtype=dtype, device=like.device)
            states[:, 0] = 1
        else:
            amplitudes = amplitudes.to(dtype)
            padded = torch.cat([amplitudes, torch.zeros_like(amplitudes[:, :1])], dim=1)
            states = padded.index_select(1, self._table("places", like))
        return states, (shared, batched, matrices)

    def _angles(self, inputs: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Shared angles (heads, n_shared) and batched ones (heads, n_batched, B)."""
        n = self.program.n_inputs

        def linear(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            whole = self._table((kind, "linear"), inputs)
            return self._table((kind, "constants"), inputs), whole[:, :n], whole[:, n:]

        constants, _, by_weights = linear("shared")
        shared = weights @ by_weights.T + constants
        pairs = self._table(("shared", "pairs"), inputs)
        if len(pairs):
            shared = shared + _monomials(weights, pairs - n) @ self._table(("shared", "products"), inputs).T
        constants, by_inputs, by_weights = linear("batched")
        batched = inputs @ by_inputs.T + (weights @ by_weights.T + constants)[:, None]
        pairs = self._table(("batched", "pairs"), inputs)
        if len(pairs):
            both = torch.cat([inputs, weights[:, None].expand(-1, inputs.shape[1], -1)], dim=-1)
            batched = batched + _monomials(both, pairs) @ self._table(("batched", "products"), inputs).T
        return shared, batched.mT

    def _add_runs(self, layers: Sequence[Layer]) -> None:
        runs = [layer.runs.get(wire, []) for layer in layers for wire in range(self._n)]
        angles = [[element[1] for element in run if isinstance(element, tuple)] for run in runs]
        length = max([1, *(len(found) for found in angles)])
        none = self.program.n_shared
        self._arrays["run index"] = np.array([f + [none] * (length - len(f)) for f in angles], dtype=int)
        self._arrays["run terms"] = np.array([run_terms(run, length) for run in runs]).reshape(-1, 2**length, 4)
        self._n_runs = len(layers)

    def _run_matrices(self, shared: torch.Tensor) -> list[torch.Tensor]:
        """For each group of wires the matrices of all layers, of shape (heads, layers, 2^group, 2^group)."""
        if not self._n_runs:
            return []
        index, terms = self._table("run index", shared), self._table("run terms", shared, is_complex=True)
        half = torch.nn.functional.pad(shared / 2, (0, 1))[:, index]
        pairs = torch.stack([half.cos(), half.sin()], dim=-1)
        products = pairs[:, :, 0]
        for place in range(1, pairs.shape[2]):
            products = (products[..., :, None] * pairs[:, :, place, None, :]).flatten(-2)
        runs = (products.to(terms.dtype)[:, :, None] @ terms).reshape(len(shared), self._n_runs, self._n, 2, 2)
        groups = []
        for first in range(0, self._n, GROUP):
            matrix = runs[:, :, first]
            for wire in range(first + 1, min(first + GROUP, self._n)):
                product = matrix[..., :, None, :, None] * runs[:, :, wire, None, :, None, :]
                matrix = product.flatten(2, 3).flatten(3, 4)
            groups.append(matrix)
        return groups

    def _apply_runs(self, groups: list[torch.Tensor], states: torch.Tensor) -> torch.Tensor:
        n_front, n_columns = 1, states.shape[2]
        for matrix in groups:
            size = matrix.shape[-1]
            states = matrix[:, None] @ states.reshape(len(states), n_front, size, -1)
            n_front *= size
        return states.reshape(len(states), -1, n_columns)

    def _merged(self, place: int, gates: list[Gate]) -> list[tuple[str, Any, tuple[int, ...]]]:
        """Fixed gates as few operations: kind, key of a table, and wires."""
        n = self._n
        if not gates:
            return []
        if n > MATRIX_QUBITS:
            for k, gate in enumerate(gates):
                assert gate.matrix is not None
                self._arrays["fixed", place, k] = gate.matrix
            return [("matrix", ("fixed", place, k), gate.wires) for k, gate in enumerate(gates)]
        matrix = fixed_matrix(gates, n)
        if ((matrix == 0) | (matrix == 1)).all():
            self._arrays["order", place] = matrix.real.argmax(axis=1)
            return [("order", ("order", place), ())]
        self._arrays["fixed", place] = matrix
        return [("matrix", ("fixed", place), tuple(range(n)))]

    def _apply_fixed(self, gate: tuple[str, Any, tuple[int, ...]], states: torch.Tensor) -> torch.Tensor:
        kind, key, wires = gate
        if kind == "order":
            return states.index_select(1, self._table(key, states))
        return _apply(self._table(key, states, is_complex=True), wires, states, self._n)

    def _add_signs(self, layer: Layer) -> None:
        signs, key = z_signs(self._n), _key(layer)
        for kind in ("batched", "shared"):
            words = [(wires, p.index) for wires, p in layer.words if p.kind == kind]
            if words:
                self._arrays["signs", kind, key] = np.stack(
                    [np.prod(signs[list(wires)], axis=0) / 2 for wires, _ in words], axis=1
                )
                self._arrays["words", kind, key] = np.array([index for _, index in words])

    def _phases(self, key: Any, shared: torch.Tensor, batched: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for kind, angles in (("batched", batched), ("shared", shared[..., None])):
            if ("signs", kind, key) in self._arrays:
                picked = angles.index_select(1, self._table(("words", kind, key), angles))
                part = self._table(("signs", kind, key), angles) @ picked
                total = part if total is None else total + part
        assert total is not None
        return torch.complex(total.cos(), -total.sin())

    def _measure(self, states: torch.Tensor) -> torch.Tensor:
        """Shape (heads or 1, B or 1, n_outputs)."""
        probabilities = states.real.square() + states.imag.square()
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
            elif ("diagonal", k) in self._arrays:
                values.append(self._table(("diagonal", k), probabilities)[None] @ probabilities)
            else:
                if measured.kind == "pauli":
                    rows = self._table(("rows", k), states)
                    factors = self._table(("factors", k), states, is_complex=True)
                    applied = sum(factor[:, None] * states[:, row] for factor, row in zip(factors, rows, strict=True))
                else:
                    matrix = self._table(("hermitian", k), states, is_complex=True)
                    applied = _apply(matrix, measured.wires, states, self._n)
                values.append((states.conj() * applied).sum(dim=1, keepdim=True).real)
        return torch.cat([value.reshape(len(states), -1, states.shape[2]) for value in values], dim=1).mT

    def _table(self, key: Any, like: torch.Tensor, is_complex: bool = False) -> torch.Tensor:
        """A table on the device and in the precision of a tensor; of integers, as they are."""
        array = self._arrays[key]
        dtype = like.dtype.to_complex() if is_complex else like.dtype.to_real()
        dtype = torch.long if array.dtype.kind in "iu" else dtype
        place = (key, dtype, like.device)
        if place not in self._tables:
            # Later calls share it, so it must not belong to this call's torch.func transform.
            with temporarily_clear_interpreter_stack():
                self._tables[place] = torch.from_numpy(np.array(array)).to(like.device, dtype)
        return self._tables[place]


def backward_through(
    values: torch.Tensor, leaves: Sequence[torch.Tensor], upstream: np.ndarray, needed: Sequence[bool]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Gradients of leaves by torch's own graph, as arrays; None where not needed."""
    wanted = [leaf for leaf, is_needed in zip(leaves, needed, strict=True) if is_needed]
    tensor = torch.from_numpy(np.ascontiguousarray(upstream)).to(values.dtype)
    gradients = iter(
        torch.autograd.grad(values, wanted, tensor, retain_graph=True, materialize_grads=True)
        if values.requires_grad
        else [torch.zeros_like(leaf) for leaf in wanted]
    )
    found = [next(gradients).numpy() if is_needed else None for is_needed in needed]
    return found[0], found[1]


def _apply(matrix: torch.Tensor, wires: Sequence[int], states: torch.Tensor, n_wires: int) -> torch.Tensor:
    """A matrix (d, d), (heads, d, d) or (heads, B, d, d) on some wires of states (heads, 2ⁿ, B)."""
    k, n_columns = len(wires), states.shape[2]
    if matrix.ndim == 4:
        n_columns = max(n_columns, matrix.shape[1])
        states = states.expand(-1, -1, n_columns)
    tensor = states.reshape(len(states), *[2] * n_wires, n_columns)
    source, target = [1 + wire for wire in wires], list(range(1, 1 + k))
    tensor = tensor.movedim(source, target)
    shape = tensor.shape
    tensor = tensor.reshape(len(states), 2**k, -1, n_columns)
    if matrix.ndim == 4:
        tensor = torch.einsum("hbij,hjrb->hirb", *_expanded(matrix, tensor, n_columns))
    else:
        tensor = (matrix @ tensor.flatten(2)).reshape(-1, 2**k, 2 ** (n_wires - k), n_columns)
    return tensor.reshape(-1, *shape[1:]).movedim(target, source).reshape(len(tensor), -1, n_columns)


def _expanded(matrix: torch.Tensor, tensor: torch.Tensor, n_columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both for each head, and the matrix for each column."""
    n_heads = max(len(matrix), len(tensor))
    return matrix.expand(n_heads, n_columns, -1, -1), tensor.expand(n_heads, -1, -1, -1)


def _monomials(z: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    return z[..., pairs[:, 0]] * z[..., pairs[:, 1]]


def _key(layer: Layer) -> Any:
    """Equal for layers of equal phases."""
    return tuple(sorted((wires, parameter.kind, parameter.index) for wires, parameter in layer.words))


def _places(wires: Sequence[int], n_wires: int) -> np.ndarray:
    """For each of 2ⁿ amplitudes its place among those of ``wires``; one behind them where another wire is 1."""
    rows = np.arange(2**n_wires)
    places = np.zeros(len(rows), dtype=int)
    for k, wire in enumerate(wires):
        places |= (rows >> (n_wires - 1 - wire) & 1) << (len(wires) - 1 - k)
    for wire in set(range(n_wires)) - set(wires):
        places[(rows >> (n_wires - 1 - wire) & 1) == 1] = 2 ** len(wires)
    return places
