"""What the dense form is made of: constant tables as tensors, and a few operations on states in torch.

In: states of shape (heads, 2ⁿ, B). Everything here works under torch.func's transforms and is differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.quantum.autograd import apart
from pipeline.quantum.matrices import rows_of


class Constants:
    """Arrays by key, and the same as tensors of any precision and device, made once each."""

    def __init__(self) -> None:
        self._arrays: dict[Any, np.ndarray] = {}
        self._tensors: dict[tuple[Any, torch.dtype, torch.device], torch.Tensor] = {}

    def __setitem__(self, key: Any, array: np.ndarray) -> None:
        self._arrays[key] = array

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._arrays[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._arrays

    def tensor(self, key: Any, like: torch.Tensor, is_complex: bool = False) -> torch.Tensor:
        """An array on the device and in the precision of a tensor; of integers, as they are."""
        array = self._arrays[key]
        dtype = like.dtype.to_complex() if is_complex else like.dtype.to_real()
        dtype = torch.long if array.dtype.kind in "iu" else dtype
        place = (key, dtype, like.device)
        if place not in self._tensors:
            # Later calls share it, so it must belong neither to this call's torch.func transform nor to inference mode.
            with apart():
                self._tensors[place] = torch.from_numpy(np.array(array)).to(like.device, dtype)
        return self._tensors[place]


def apply(matrix: torch.Tensor, wires: Sequence[int], states: torch.Tensor, n_wires: int) -> torch.Tensor:
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


def monomials(z: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """The products z_i z_j of some pairs, along the last axis."""
    return z[..., pairs[:, 0]] * z[..., pairs[:, 1]]


def places(wires: Sequence[int], n_wires: int) -> np.ndarray:
    """For each of 2ⁿ amplitudes its place among those of ``wires``; one behind them where another wire is 1."""
    places = np.full(2**n_wires, 2 ** len(wires))
    places[rows_of(wires, n_wires)] = np.arange(2 ** len(wires))
    return places
