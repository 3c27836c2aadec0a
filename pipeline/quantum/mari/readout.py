"""What is read off the states: expectation values of Z, and the derivatives with respect to the rotations' angles.

In: states of shape (2ⁿ, columns), one sample a column, wire 0 the most significant bit of the row. Out: numbers a wire.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.quantum.circuit import z_signs

GRAM_QUBITS = 4
"""Up to so many wires all products of a state's rows are cheaper than a few calls a wire."""
RUN = 256
"""Amplitudes that lie side by side, from which on a call a run costs little beside the products themselves."""


class PauliZ:
    """Sums over zᵢ(s), the eigenvalue of Z on wire i in basis state s, with tables of ``dtype``, float32 or float64."""

    def __init__(self, n_qubits: int, dtype: Any) -> None:
        # Of many wires in two halves, so that the tables stay small.
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


class PackedDerivatives:
    """Im⟨λ|Y|Φ⟩ of every wire from the packed states χ = Φ + iλ: the imaginary part of ⟨χ₀|χ₁⟩.

    χ₀ and χ₁ are the halves of χ where the wire is 0 and where it is 1.
    """

    def __init__(self, n_qubits: int) -> None:
        self._n_qubits = n_qubits
        if n_qubits <= GRAM_QUBITS:
            rows = np.arange(2**n_qubits)
            self._pairs = np.zeros((2**n_qubits, 2**n_qubits, n_qubits))
            for wire in range(n_qubits):
                zero = rows[rows >> (n_qubits - 1 - wire) & 1 == 0]
                self._pairs[zero, zero | 1 << (n_qubits - 1 - wire), wire] = 1
            self._pairs = self._pairs.reshape(-1, n_qubits)

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """Shape (k, n_qubits), from packed states of shape (k, 2ⁿ, columns)."""
        n_qubits, (n_states, dim, n_columns) = self._n_qubits, states.shape
        if n_qubits <= GRAM_QUBITS:
            products = states.conj() @ states.swapaxes(1, 2)
            return products.imag.reshape(n_states, -1) @ self._pairs
        # The halves of a late wire alternate in short runs: these wires come first in a transposed copy.
        split = min(n_qubits, max(n_qubits // 2, (dim * n_columns // RUN).bit_length() - 1))
        runs = [1 << wire for wire in (*range(split), *range(n_qubits - split))]
        overlaps = np.empty((n_states, sum(runs)), dtype=states.dtype)
        start = 0
        for wire, n_runs in enumerate(runs):
            if wire == split:
                states = np.ascontiguousarray(states.reshape(n_states, 2**split, -1, n_columns).swapaxes(1, 2))
            halves = states.reshape(n_states, n_runs, 2, -1)
            np.vecdot(halves[:, :, 0], halves[:, :, 1], out=overlaps[:, start : start + n_runs])
            start += n_runs
        # Each wire's runs are summed in one call for all wires.
        return np.add.reduceat(overlaps.imag, np.cumsum([0, *runs[:-1]]), axis=1)


def rotation_derivative(name: str, adjoint: np.ndarray, state: np.ndarray, wire: int) -> float:
    """Im⟨λ|P|Φ⟩ of one wire, for the Pauli matrix P of a rotation RX, RY or RZ and states of shape (2ⁿ, columns)."""
    bra, ket = (states.reshape(2**wire, 2, -1) for states in (adjoint, state))
    if name == "RX":
        products = np.vecdot(bra[:, 0], ket[:, 1]) + np.vecdot(bra[:, 1], ket[:, 0])
    elif name == "RY":
        products = 1j * (np.vecdot(bra[:, 1], ket[:, 0]) - np.vecdot(bra[:, 0], ket[:, 1]))
    else:
        products = np.vecdot(bra[:, 0], ket[:, 0]) - np.vecdot(bra[:, 1], ket[:, 1])
    return float(products.sum().imag)
