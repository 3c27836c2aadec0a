"""Measurements: expectation values and probabilities of a batch of states, and the adjoint states for the gradient.

In: states of shape (2ⁿ, B), wire 0 the most significant bit of the row. Out: values of shape (B, n_outputs), or, from a
loss's gradient with respect to these, the adjoint states λ = Σⱼ gⱼ Oⱼ Φ of shape (2ⁿ, B).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pipeline.quantum.matrices import ZReadout, apply_matrix, z_signs
from pipeline.quantum.program.tape import Measurement

TABLE_QUBITS = 6
"""Wires up to which one table of eigenvalues is used. Beyond, ⟨Z⟩ of every wire uses two tables of half the wires."""


class Observables:
    """The measurements of a circuit on ``n_wires`` wires, with real tables of ``dtype``."""

    def __init__(self, measurements: Sequence[Measurement], n_wires: int, dtype: np.dtype) -> None:
        self.n_wires, self.n_outputs = n_wires, sum(m.size for m in measurements)
        self._dtype = dtype
        edges = np.cumsum([0, *(m.size for m in measurements)])
        self._columns = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self._diagonal: list[int] = []
        self._others: list[tuple[slice, Measurement]] = []
        self._probabilities: list[tuple[slice, Measurement]] = []
        rows = []
        for columns, m in zip(self._columns, measurements, strict=True):
            if m.kind == "probs":
                self._probabilities.append((columns, m))
            elif m.is_diagonal:
                self._diagonal.append(columns.start)
                rows.append(m)
            else:
                self._others.append((columns, m))
        self._all_diagonal = len(rows) == len(measurements)
        single = [
            m.terms[0][1][0][0] for m in rows if len(m.terms) == 1 and m.terms[0][0] == 1 and len(m.terms[0][1]) == 1
        ]
        self._halves: ZReadout | None = None
        self._table = np.zeros((0, 0), dtype=dtype)
        if n_wires > TABLE_QUBITS and self._all_diagonal and single == list(range(n_wires)):
            self._halves = ZReadout(n_wires, dtype)
        elif rows:
            self._table = np.array([eigenvalues(m, n_wires) for m in rows]).astype(dtype)

    @property
    def eigenvalues(self) -> np.ndarray | None:
        """Of measurements in the basis of Z alone, those of each basis state, (n_outputs, 2ⁿ); None of others."""
        if self._halves is not None:
            return z_signs(self.n_wires).astype(self._dtype)
        return self._table if self._all_diagonal else None

    def values(self, states: np.ndarray) -> np.ndarray:
        """Shape (B, n_outputs)."""
        if not np.iscomplexobj(states):
            probabilities = states * states
        elif self._all_diagonal and states.flags.c_contiguous:
            # Real and imaginary parts as columns of their own: one contiguous product instead of strided ones.
            parts = states.view(self._dtype)
            both = self._expectation(parts * parts)
            return both[::2] + both[1::2]
        else:
            probabilities = states.real * states.real
            probabilities += states.imag * states.imag
        if self._all_diagonal:
            return self._expectation(probabilities)
        result = np.empty((states.shape[1], self.n_outputs), dtype=self._dtype)
        if self._diagonal:
            result[:, self._diagonal] = self._table.dot(probabilities).T
        for columns, m in self._probabilities:
            result[:, columns] = _marginal(probabilities, m.wires, self.n_wires).T
        for columns, m in self._others:
            result[:, columns.start] = np.einsum("sb,sb->b", states.conj(), _applied(m, states, self.n_wires)).real
        return result

    def _expectation(self, probabilities: np.ndarray) -> np.ndarray:
        """The eigenvalues' means, shape (columns, n_outputs), where all measurements are diagonal."""
        if self._halves is not None:
            return self._halves.expectation(probabilities)
        return self._table.dot(probabilities).T

    def adjoint(self, states: np.ndarray, upstream: np.ndarray) -> np.ndarray:
        """λ = Σⱼ gⱼ Oⱼ Φ of shape (2ⁿ, B), for upstream g of shape (B, n_outputs)."""
        if self._halves is not None:
            return self._halves.observable(upstream) * states
        if self._all_diagonal:
            return self._table.T.dot(upstream.T) * states
        weights = np.zeros((len(states), states.shape[1]), dtype=self._dtype)
        if self._diagonal:
            weights += self._table.T @ upstream[:, self._diagonal].T
        for columns, m in self._probabilities:
            weights += _spread(upstream[:, columns].T, m.wires, self.n_wires)
        result = weights * states
        for columns, m in self._others:
            result = result + upstream[:, columns.start] * _applied(m, states, self.n_wires)
        return result


def eigenvalues(measurement: Measurement, n_wires: int) -> np.ndarray:
    """The diagonal of a sum of words of Z alone."""
    signs = z_signs(n_wires)
    total = np.zeros(2**n_wires)
    for coefficient, word in measurement.terms:
        total += coefficient * np.prod([signs[wire] for wire, _ in word], axis=0)
    return total


def _applied(measurement: Measurement, states: np.ndarray, n_wires: int) -> np.ndarray:
    """O Φ, complex, in the precision of Φ."""
    dtype = np.result_type(states, np.complex64)
    if measurement.kind == "hermitian":
        assert measurement.matrix is not None
        return apply_matrix(measurement.matrix.astype(dtype), measurement.wires, states)
    total = np.zeros(states.shape, dtype=dtype)
    for rows, factors in zip(*pauli_action(measurement, n_wires), strict=True):
        total += (factors[:, None] * states[rows]).astype(total.dtype)
    return total


def pauli_action(measurement: Measurement, n_wires: int) -> tuple[np.ndarray, np.ndarray]:
    """A sum of Pauli words as O Φ = Σ_t factors[t] · Φ[rows[t]], each of shape (terms, 2ⁿ)."""
    rows, signs = np.arange(2**n_wires), z_signs(n_wires)
    orders, factors = [], []
    for coefficient, word in measurement.terms:
        order, factor = rows, np.full(len(rows), complex(coefficient))
        for wire, letter in word:
            if letter != "Z":
                order = order ^ (1 << (n_wires - 1 - wire))
            # Y has i in the row of 1 and -i in the row of 0.
            factor = factor * {"X": 1, "Y": -1j * signs[wire], "Z": signs[wire]}[letter]
        orders.append(order)
        factors.append(factor)
    return np.array(orders), np.array(factors)


def _marginal(probabilities: np.ndarray, wires: tuple[int, ...], n_wires: int) -> np.ndarray:
    """Probabilities of some wires, in their order, shape (2^k, B)."""
    if wires == tuple(range(n_wires)):
        return probabilities
    tensor = probabilities.reshape([2] * n_wires + [-1])
    rest = tuple(wire for wire in range(n_wires) if wire not in wires)
    summed = tensor.sum(axis=rest)
    order = np.argsort(np.argsort(wires))
    return np.moveaxis(summed, order, range(len(wires))).reshape(2 ** len(wires), -1)


def _spread(weights: np.ndarray, wires: tuple[int, ...], n_wires: int) -> np.ndarray:
    """The adjoint of ``_marginal``: shape (2ⁿ, B)."""
    if wires == tuple(range(n_wires)):
        return weights
    order = np.argsort(np.argsort(wires))
    tensor = np.moveaxis(weights.reshape([2] * len(wires) + [-1]), range(len(wires)), order)
    shape = [2 if wire in wires else 1 for wire in range(n_wires)]
    return np.broadcast_to(tensor.reshape([*shape, -1]), [2] * n_wires + [weights.shape[-1]]).reshape(2**n_wires, -1)
