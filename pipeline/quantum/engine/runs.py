"""Runs of rotations on single wires: their 2×2 matrices, and the derivatives with respect to all their angles.

A rotation exp(-iθP/2) is cos(θ/2) - i sin(θ/2) P, so the matrix of a run is linear in the products of its cosines and
sines, and these are linear in the waves v, the cosines and sines of all φ = (θ₁ ± θ₂ ± …)/2: R = Σ_m v_m C_m with fixed
C_m. The matrices of all runs of a circuit come from one product, and so do their derivatives, from one 2×2 matrix a
run, N = tr_{other wires} |Φ⟩⟨λ| of the states before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.quantum.engine.layers import Layer
from pipeline.quantum.matrices import PAULI, z_signs


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
        self._signs, change = _waves(self._length)
        self._signs_back = 2 * self._signs
        terms = np.array([run_terms(run, self._length) for run in runs], dtype=complex).reshape(-1, 2**self._length, 4)
        terms = change @ terms
        self.is_real = not np.abs(terms.imag).max(initial=0) > 1e-14
        real = terms.real if self.is_real else np.ascontiguousarray(terms).view(float)
        self._same = len(real) > 0 and bool((real == real[0]).all())
        self._terms = np.ascontiguousarray(real[0] if self._same else real)
        # Re(C q) = Re C Re q - Im C Im q.
        back = real.copy()
        if not self.is_real:
            back[..., 1::2] *= -1
        self._back = np.ascontiguousarray(back[0] if self._same else back)

    def matrices(self, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The matrices, of shape (K, n, 2, 2), and the waves v, of shape (2^length, K·n)."""
        angles = shared.reshape(self._index.shape) if self._plain else np.append(shared, 0.0)[self._index]
        phases = self._signs.dot(angles.T)
        half = len(phases)
        waves = np.empty((2 * half, phases.shape[1]))
        np.cos(phases, out=waves[:half])
        np.sin(phases, out=waves[half:])
        rows = waves.T.dot(self._terms) if self._same else np.einsum("mg,gmx->gx", waves, self._terms)
        return (rows if self.is_real else rows.view(complex)).reshape(*self._shape, 2, 2), waves

    def gradient(self, matrices: np.ndarray, waves: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """The gradient of the shared angles, (n_shared,), from the N of each run, of shape (K, n, 2, 2)."""
        # dL = 2 Re tr(R† dR N)
        if self.is_real:
            inner, matrices = inner.real, matrices.real
        inner = np.matmul(matrices.conj(), inner.swapaxes(-1, -2))
        rows = inner.reshape(-1, 4)
        if not self.is_real:
            rows = rows.astype(complex, copy=False).view(float)
        slopes = self._back.dot(rows.T) if self._same else np.einsum("gx,gmx->mg", rows, self._back)
        half = len(self._signs)
        # d cos φ = -sin φ dφ, d sin φ = cos φ dφ
        turned = waves[:half] * slopes[half:]
        turned -= waves[half:] * slopes[:half]
        by_angle = turned.T.dot(self._signs_back).reshape(-1)
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


def _waves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Phases φ = signs @ θ, signs of shape (H, length), H = 2^(length-1), and the change of basis to their waves.

    Coefficients of the products of cosines and sines, as ``run_terms`` orders them, become by ``change @ coefficients``
    those of cos φ and sin φ, in this order; ``change`` has shape (2H, 2H).
    """
    half = 2 ** (length - 1)
    signs = np.concatenate([np.ones((1, half)), z_signs(length - 1)]) if length > 1 else np.ones((1, 1))
    # cos x = (exp(ix) + exp(-ix)) / 2 and sin x = (exp(ix) - exp(-ix)) / 2i.
    powers = np.ones((half, 1), dtype=complex)
    for of_place in signs:
        pair = np.stack([np.ones(half), -1j * of_place], axis=1) / 2
        powers = (powers[:, :, None] * pair[:, None]).reshape(half, -1)
    # Opposite phases have conjugate powers: c exp(iφ) + c* exp(-iφ) = 2 Re c cos φ - 2 Im c sin φ.
    return np.ascontiguousarray(signs.T) / 2, np.concatenate([2 * powers.real, -2 * powers.imag])
