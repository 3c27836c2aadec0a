"""Small matrices of gates, and their action on some wires of many states."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

SHORT = 256
"""Contiguous amplitudes from which on the overhead of one call a stretch is negligible."""
COLUMNS = 16
"""Samples side by side from which on stretches are cheaper than a transposed copy that a core's own cache holds."""
CACHED = 2**16
"""Amplitudes of such a copy."""
PAULI = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=complex),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}


def pauli_word(word: str) -> np.ndarray:
    """The matrix of a Pauli word, of shape (2^k, 2^k)."""
    return reduce(np.kron, [PAULI[letter] for letter in word], np.eye(1, dtype=complex))


def apply_matrix(matrix: np.ndarray, wires: tuple[int, ...], columns: np.ndarray) -> np.ndarray:
    """A matrix on some wires of states of shape (2ⁿ, columns), wire 0 the most significant bit of the row.

    A matrix of shape (columns, 2^k, 2^k) is one a column.
    """
    n_qubits, k = len(columns).bit_length() - 1, len(wires)
    tensor = np.moveaxis(columns.reshape([2] * n_qubits + [-1]), wires, range(k))
    shape = tensor.shape
    if matrix.ndim == 2:
        tensor = matrix @ tensor.reshape(2**k, -1)
    else:
        tensor = tensor.reshape(2**k, -1, columns.shape[1])
        tensor = np.einsum("bij,jrb->irb", matrix, np.broadcast_to(tensor, (*tensor.shape[:2], len(matrix))))
    n_columns = max(shape[-1], len(matrix) if matrix.ndim == 3 else 1)
    return np.moveaxis(tensor.reshape(*shape[:-1], n_columns), range(k), wires).reshape(len(columns), n_columns)


def z_signs(n_qubits: int) -> np.ndarray:
    """The eigenvalue of Z on wire i in basis state s, wire 0 being its most significant bit: shape (n_qubits, 2ⁿ)."""
    bits = np.arange(2**n_qubits) >> np.arange(n_qubits - 1, -1, -1)[:, None] & 1
    return 1.0 - 2.0 * bits


class ZReadout:
    """⟨Z⟩ of every wire, and its adjoint, from tables of zᵢ(s), the eigenvalue of Z on wire i in basis state s.

    Args:
        n_qubits: Number of wires.
        dtype: Of the tables, float32 or float64.
    """

    def __init__(self, n_qubits: int, dtype: Any) -> None:
        # The wires of a large register are split into two halves, because one table would have n · 2ⁿ entries.
        n_front = n_qubits // 2 if n_qubits > 6 else 0
        self._front, self._back = (z_signs(n).astype(dtype) for n in (n_front, n_qubits - n_front))

    def expectation(self, probabilities: np.ndarray) -> np.ndarray:
        """Σ_s zᵢ(s) p_b(s) of shape (B, n) from p of shape (2ⁿ, B)."""
        n_front = len(self._front)
        if not n_front:
            return (self._back @ probabilities).T
        halves = probabilities.reshape(2**n_front, -1, probabilities.shape[-1])
        return np.concatenate([self._front @ halves.sum(axis=1), self._back @ halves.sum(axis=0)]).T

    def observable(self, upstream: np.ndarray) -> np.ndarray:
        """Σᵢ g_bi zᵢ(s) of shape (2ⁿ, B) from g of shape (B, n)."""
        n_front = len(self._front)
        back = self._back.T @ upstream[:, n_front:].T
        if not n_front:
            return back
        front = self._front.T @ upstream[:, :n_front].T
        return (front[:, None] + back).reshape(-1, len(upstream))


def matrix_gradient(matrix: np.ndarray, wires: tuple[int, ...], before: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
    """The gradient of a gate's matrix, (d, d) or one a column, from states before it and adjoint states behind it."""
    n_qubits, k = len(before).bit_length() - 1, len(wires)
    bra, ket = (
        np.moveaxis(
            np.broadcast_to(s, (len(s), max(before.shape[1], adjoint.shape[1]))).reshape([2] * n_qubits + [-1]),
            wires,
            range(k),
        ).reshape(2**k, 2 ** (n_qubits - k), -1)
        for s in (adjoint, before)
    )
    return 2 * np.einsum("irb,jrb->bij" if matrix.ndim == 3 else "irb,jrb->ij", bra, ket.conj())


def row_order(matrices: np.ndarray) -> np.ndarray | None:
    """For permutation matrices (…, d, d) the row that each row takes, shape (…, d); None for others."""
    if not (((matrices == 0) | (matrices == 1)).all() and (matrices.sum(axis=-1) == 1).all()):
        return None
    return matrices.real.argmax(axis=-1)


def rows_of(wires: Sequence[int], n_wires: int) -> np.ndarray:
    """The rows of 2ⁿ of the basis states of some wires, in their order; the other wires are |0⟩. Shape (2^k,)."""
    states = np.arange(2 ** len(wires))
    rows = np.zeros(len(states), dtype=np.intp)
    for k, wire in enumerate(wires):
        rows |= (states >> (len(wires) - 1 - k) & 1) << (n_wires - 1 - wire)
    return rows


def late_wire(n_wires: int, n_columns: int) -> int:
    """The first wire whose halves are better multiplied in a transposed copy of states of shape (2ⁿ, columns).

    The halves of a late wire alternate in short stretches; in the copy these wires come first. ``n_wires`` if no copy
    is worth its time.
    """
    size = n_columns << n_wires
    if n_columns >= COLUMNS and size <= CACHED:
        return n_wires
    return min(n_wires, max(n_wires // 2, (size // SHORT).bit_length() - 1))
