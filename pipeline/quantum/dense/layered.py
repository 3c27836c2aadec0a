"""A program's layers in torch: for many wires, and for gates whose matrices are traced.

The runs of a few neighbouring wires are one matrix a head, words of Z are phases, and fixed gates are a permutation or
a matrix on all wires.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.quantum.dense.tensors import Constants, apply
from pipeline.quantum.engine.fused import fixed_matrix
from pipeline.quantum.engine.layers import Layer, Schedule
from pipeline.quantum.engine.runs import run_terms
from pipeline.quantum.matrices import apply_matrix, row_order, z_signs
from pipeline.quantum.program.program import Program
from pipeline.quantum.program.tape import Gate

GROUP = 3
"""Wires whose runs are multiplied out to one matrix of 8 × 8."""
MATRIX_QUBITS = 8
"""Wires up to which the fixed gates between two layers are one matrix, where they do more than permute."""


class Layered:
    """The layers of a program, applied to states of shape (heads or 1, 2ⁿ, B or 1)."""

    def __init__(self, program: Program) -> None:
        n = self._n = program.n_wires
        schedule = Schedule(program)
        self._n_shared = program.n_shared
        self._constants = Constants()
        self._layers = schedule.layers
        self._fixed = [self._merged(place, gates) for place, gates in enumerate(schedule.fixed)]
        self._add_runs([layer for layer in schedule.layers if layer.kind == "wires"])
        signs = z_signs(n)
        for layer in schedule.layers:
            if layer.kind == "phases":
                self._add_signs(layer, signs)

    def __call__(
        self,
        shared: torch.Tensor,
        batched: torch.Tensor,
        matrices: Sequence[torch.Tensor],
        amplitudes: torch.Tensor | None,
    ) -> torch.Tensor:
        """The states behind all gates, complex.

        Args:
            shared: Angles of all samples of a head, (heads, n_shared).
            batched: Samples' own angles, (heads, n_batched, B).
            matrices: Of gates without an angle, (heads, d, d) or (heads, B, d, d).
            amplitudes: The states at the start, (heads, 2ⁿ, B); |0…0⟩ if None.
        """
        dtype = shared.dtype.to_complex()
        if amplitudes is None:
            states = torch.zeros(1, 2**self._n, 1, dtype=dtype, device=shared.device)
            states[:, 0] = 1
        else:
            states = amplitudes.to(dtype)
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
                states = apply(matrices[parameter.index].to(states.dtype), gate.wires, states, self._n)
        return states

    def _add_runs(self, layers: Sequence[Layer]) -> None:
        runs = [layer.runs.get(wire, []) for layer in layers for wire in range(self._n)]
        angles = [[element[1] for element in run if isinstance(element, tuple)] for run in runs]
        length = max([1, *(len(found) for found in angles)])
        none = self._n_shared
        self._constants["run index"] = np.array([f + [none] * (length - len(f)) for f in angles], dtype=int)
        self._constants["run terms"] = np.array([run_terms(run, length) for run in runs]).reshape(-1, 2**length, 4)
        self._n_runs = len(layers)

    def _run_matrices(self, shared: torch.Tensor) -> list[torch.Tensor]:
        """For each group of wires the matrices of all layers, of shape (heads, layers, 2^group, 2^group)."""
        if not self._n_runs:
            return []
        index, terms = (
            self._constants.tensor("run index", shared),
            self._constants.tensor("run terms", shared, is_complex=True),
        )
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
        merged: list[tuple[str, Any, tuple[int, ...]]] = []

        def add(kind: str, table: np.ndarray, wires: tuple[int, ...]) -> None:
            key = ("fixed", place, len(merged))
            self._constants[key] = table
            merged.append((kind, key, wires))

        if n <= MATRIX_QUBITS and not all(map(_permutes, gates)):
            add("matrix", fixed_matrix(gates, n), tuple(range(n)))
            return merged
        for permute, stretch in itertools.groupby(gates, _permutes):
            if permute:
                rows = np.arange(2**n, dtype=float)[:, None]
                for gate in stretch:
                    rows = apply_matrix(gate.matrix.real, gate.wires, rows)  # type: ignore[union-attr]
                add("order", rows[:, 0].astype(int), ())
            else:
                for gate in stretch:
                    add("matrix", gate.matrix, gate.wires)  # type: ignore[arg-type]
        return merged

    def _apply_fixed(self, gate: tuple[str, Any, tuple[int, ...]], states: torch.Tensor) -> torch.Tensor:
        kind, key, wires = gate
        if kind == "order":
            return states.index_select(1, self._constants.tensor(key, states))
        return apply(self._constants.tensor(key, states, is_complex=True), wires, states, self._n)

    def _add_signs(self, layer: Layer, signs: np.ndarray) -> None:
        key = _key(layer)
        for kind in ("batched", "shared"):
            words = [(wires, p.index) for wires, p in layer.words if p.kind == kind]
            if words:
                self._constants["signs", kind, key] = np.stack(
                    [np.prod(signs[list(wires)], axis=0) / 2 for wires, _ in words], axis=1
                )
                self._constants["words", kind, key] = np.array([index for _, index in words])

    def _phases(self, key: Any, shared: torch.Tensor, batched: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor | None = None
        for kind, angles in (("batched", batched), ("shared", shared[..., None])):
            if ("signs", kind, key) in self._constants:
                picked = angles.index_select(1, self._constants.tensor(("words", kind, key), angles))
                part = self._constants.tensor(("signs", kind, key), angles) @ picked
                total = part if total is None else total + part
        assert total is not None
        return torch.complex(total.cos(), -total.sin())


def _key(layer: Layer) -> Any:
    """Equal for layers of equal phases."""
    return tuple(sorted((wires, parameter.kind, parameter.index) for wires, parameter in layer.words))


def _permutes(gate: Gate) -> bool:
    """Whether a fixed gate only changes the order of basis states."""
    assert gate.matrix is not None
    return row_order(gate.matrix) is not None
