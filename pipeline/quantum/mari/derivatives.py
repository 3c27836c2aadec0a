"""Derivatives of an expectation value with respect to the rotations' angles, from states and adjoint states.

In: states of shape (2ⁿ, columns), one sample a column, wire 0 the most significant bit of the row. Out: numbers a wire.
"""

from __future__ import annotations

import numpy as np

GRAM_QUBITS = 4
"""Wires up to which one product of all pairs of rows is cheaper than a few calls for each wire."""
RUN = 256
"""Contiguous amplitudes from which on the overhead of one call a run is negligible."""


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
        # The halves of a late wire alternate in short runs: a transposed copy puts these wires first.
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
