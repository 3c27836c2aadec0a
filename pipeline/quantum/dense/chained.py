"""A program of few wires in torch: the chain of fixed matrices and phases of ``engine/chain.py``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.quantum.dense.tensors import Constants
from pipeline.quantum.engine.chain import Chain
from pipeline.quantum.program.program import Program


class Chained:
    """The states of a program that fits a chain."""

    def __init__(self, program: Program) -> None:
        tables = Chain(program).tables("float64")
        self._is_plain, self._constants = program.amplitudes is None, Constants()
        self._n_layers, self._n_rows = tables.shared.shape[:2]
        self._is_complex = len(tables.matrices[-1]) > 2**program.n_wires
        first = {id(matrix): k for k, matrix in reversed(list(enumerate(tables.matrices)))}
        self._places = [first[id(matrix)] for matrix in tables.matrices]
        for k in set(self._places):
            self._constants["matrix", k] = tables.matrices[k]
        self._constants["start"] = tables.start
        self._constants["shared"] = tables.shared.reshape(self._n_layers * self._n_rows, program.n_shared)
        for layer, signs in enumerate(tables.batched):
            if signs is not None:
                self._constants["batched", layer] = signs

    def __call__(
        self,
        shared: torch.Tensor,
        batched: torch.Tensor,
        _matrices: Sequence[torch.Tensor],
        amplitudes: torch.Tensor | None,
    ) -> torch.Tensor:
        """The states behind all gates, as ``Layered``, but real where all gates are."""
        table = self._constants.tensor
        # Columns by sample, then head: one product serves all, and a head's phases broadcast along what lies together.
        n_heads, n_samples = len(shared), batched.shape[2]
        columns = batched.permute(1, 2, 0).flatten(1)
        by_head = (table("shared", shared) @ shared.T).reshape(self._n_layers, self._n_rows, 1, n_heads)
        turns = _turns(by_head).unbind(2)
        states = table(("matrix", 0), shared)
        if amplitudes is not None:
            states = states @ amplitudes.permute(1, 2, 0).flatten(1)
        for layer, turn in enumerate(turns):
            is_first = layer == 0 and self._is_plain
            phases = None
            if ("batched", layer) in self._constants:
                own = table(("batched", layer), shared) @ columns
                phases = by_head[layer] + own.reshape(-1, n_samples, n_heads)
            if is_first:
                phases = (by_head[layer] if phases is None else phases) + table("start", shared)
                turned = torch.stack([phases.cos(), phases.sin()])
            else:
                turn = turn if phases is None else _turns(phases)
                turned = (turn * states.reshape(2, self._n_rows, -1, n_heads)).sum(1)
            states = table(("matrix", self._places[layer + 1]), shared) @ turned.reshape(2 * self._n_rows, -1)
        # Without phases there is one column for all.
        states = states.reshape(len(states), -1, n_heads if self._n_layers or amplitudes is not None else 1)
        states = states.permute(2, 0, 1)
        return torch.complex(*states.chunk(2, dim=1)) if self._is_complex else states


def _turns(phases: torch.Tensor) -> torch.Tensor:
    """The turns of real and imaginary parts by these phases, shape (2, 2, …): a GPU starts few operations, each of them
    for all."""
    cos, sin = phases.cos(), phases.sin()
    return torch.stack([cos, -sin, sin, cos]).unflatten(0, (2, 2))
