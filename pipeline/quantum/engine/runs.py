"""Runs of rotations on single wires: their 2×2 matrices, and the derivatives with respect to all their angles.

A rotation exp(-iθP/2) is cos(θ/2) - i sin(θ/2) P, so the matrix of a run is linear in the products v of its cosines and
sines: R = Σ_m v_m C_m with fixed C_m. The matrices of all runs of a circuit come from one product, and so do their
derivatives, from one 2×2 matrix a run, N = tr_{other wires} |Φ⟩⟨λ| of the states before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.matrices import PAULI


class Runs:
    """The runs of K layers of kind ``wires``, on n wires each; a wire without a run has the identity.

    Attributes:
        is_real: Whether all their matrices are.
    """

    def __init__(self, layers: Sequence[Layer], n_wires: int, n_shared: int) -> None:
        runs = [layer.runs.get(wire, []) for layer in layers for wire in range(n_wires)]
        self._shape = (len(layers), n_wires)
        self._n_shared = n_shared
        angles = [[element[1] for element in run if isinstance(element, tuple)] for run in runs]
        self._length = max(1, *(len(found) for found in angles)) if angles else 1
        # Unused places of a run take the angle 0, appended behind the shared angles.
        padded = [found + [n_shared] * (self._length - len(found)) for found in angles]
        self._index = np.array(padded, dtype=np.intp).reshape(-1, self._length)
        self._plain = (
            bool((self._index.reshape(-1) == np.arange(n_shared)).all()) if self._index.size == n_shared else False
        )
        terms = np.array([run_terms(run, self._length) for run in runs], dtype=complex).reshape(-1, 2**self._length, 4)
        self.is_real = not np.abs(terms.imag).max(initial=0) > 1e-14
        real = terms.real if self.is_real else np.ascontiguousarray(terms).view(float)
        self._same = len(real) > 0 and bool((real == real[0]).all())
        self._terms = np.ascontiguousarray(real[0] if self._same else real)
        # Re(C q) = Re C Re q - Im C Im q.
        back = real.copy()
        if not self.is_real:
            back[..., 1::2] *= -1
        self._back = np.ascontiguousarray(back[0].T if self._same else back)
        self._flips = _flips(self._length)

    def matrices(self, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The matrices, of shape (K, n, 2, 2), and the products v, of shape (K·n, 2^length)."""
        if self._plain:
            half = shared.reshape(self._index.shape) * 0.5
        else:
            half = np.append(shared, 0.0)[self._index]
            half *= 0.5
        products = np.empty((*half.shape, 2))
        np.cos(half, out=products[..., 0])
        np.sin(half, out=products[..., 1])
        values = products[:, 0]
        for k in range(1, self._length):
            values = (values[:, :, None] * products[:, k, None, :]).reshape(len(half), -1)
        rows = values @ self._terms if self._same else np.einsum("gm,gmx->gx", values, self._terms)
        return (rows if self.is_real else rows.view(complex)).reshape(*self._shape, 2, 2), values

    def gradient(self, matrices: np.ndarray, values: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """The gradient of the shared angles, (n_shared,), from the N of each run, of shape (K, n, 2, 2)."""
        # dL = 2 Re tr(R† dR N)
        if self.is_real:
            inner, matrices = inner.real, matrices.real
        inner = np.matmul(matrices.conj(), inner.swapaxes(-1, -2))
        rows = inner.reshape(len(values), 4)
        if not self.is_real:
            rows = np.ascontiguousarray(rows, dtype=complex).view(float)
        slopes = rows @ self._back if self._same else np.einsum("gx,gmx->gm", rows, self._back)
        turned = (values @ self._flips).reshape(len(values), self._length, -1)
        by_angle = np.matmul(turned, slopes[:, :, None]).reshape(-1)
        if self._plain:
            return by_angle
        return np.bincount(self._index.reshape(-1), by_angle, self._n_shared + 1)[: self._n_shared]


def run_terms(run: Sequence[tuple[str, int] | np.ndarray], length: int) -> np.ndarray:
    """C_m for all choices of cosine (0) or sine (1) in each place, the first place the most significant bit."""
    terms = np.eye(2, dtype=complex)[None]
    n_angles = 0
    for element in run:
        if isinstance(element, tuple):
            both = np.stack([np.eye(2, dtype=complex), -1j * PAULI[element[0]]])
            terms = np.einsum("sij,mjk->msik", both, terms).reshape(-1, 2, 2)
            n_angles += 1
        else:
            terms = element @ terms
    for _ in range(length - n_angles):
        terms = np.stack([terms, np.zeros_like(terms)], axis=1).reshape(-1, 2, 2)
    return terms.reshape(-1, 4)


def _flips(length: int) -> np.ndarray:
    """The matrix from v to dv/dθ for each place, times 2 · 1/2, of shape (2^length, length · 2^length)."""
    size = 2**length
    flips = np.zeros((size, length, size))
    for place in range(length):
        bit = 1 << (length - 1 - place)
        for m in range(size):
            # d cos = -sin, d sin = cos
            flips[m ^ bit, place, m] = 1.0 if m & bit else -1.0
    return flips.reshape(size, -1)
