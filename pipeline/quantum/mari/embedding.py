"""The embedded samples: product states of the wires' own states.

In: angles of shape (B, n_qubits), in radians. Out: amplitudes of shape (2ⁿ, B), and the angles' gradients.

One rotation a wire makes cos(x/2) u + sin(x/2) v = exp(ix/2) (u - iv)/2 + exp(-ix/2) (u + iv)/2. So the state of a few
wires is a fixed matrix times the cosines and sines of all Σ ±xᵢ/2: a handful of array operations for all of them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from pipeline.quantum.circuit import Circuit, embedding_states, is_real, z_signs

GROUP = 4
"""Wires embedded by one matrix. At 16 amplitudes the product costs no more than the call."""


@dataclass(frozen=True)
class PhaseBasis:
    """The embedding of some wires as ``decoder @ (cos φ, sin φ)`` with φ = ``signs @ x``.

    Attributes:
        signs: ±1/2, of shape (R/2, wires).
        decoder: Shape (2^wires, R), real if the circuit is.
    """

    signs: np.ndarray
    decoder: np.ndarray


def phase_basis(circuit: Circuit, wires: range, dtype: str) -> PhaseBasis:
    """The phase basis of neighbouring wires, its signs of ``dtype``, float32 or float64."""
    basis = np.ones((1, 1), dtype=complex)
    for at_0, at_pi in embedding_states(circuit)[wires.start : wires.stop]:
        basis = np.kron(basis, np.stack([at_0 - 1j * at_pi, at_0 + 1j * at_pi], axis=-1) / 2)
    real = is_real(circuit)
    # Of a real state the half with the opposite phases is the complex conjugate: twice the real part is both.
    kept = slice(0, len(basis) // 2) if real else slice(None)
    signs = z_signs(len(wires)).T[kept] / 2
    decoder = real_decoder(basis[:, kept], 2.0) if real else np.concatenate([basis, 1j * basis], axis=1)
    return PhaseBasis(signs.astype(dtype), decoder.astype(np.result_type(dtype, np.complex64) if not real else dtype))


def real_decoder(basis: np.ndarray, norm: float) -> np.ndarray:
    """The matrix from (Re a, Im a) to the real part of ``norm · basis @ a``."""
    return norm * np.concatenate([basis.real, -basis.imag], axis=1)


class Embedding:
    """The embedding of a circuit, its angles of ``dtype``, float32 or float64."""

    def __init__(self, circuit: Circuit, dtype: str) -> None:
        n_groups = math.ceil(circuit.n_qubits / GROUP)
        edges = [circuit.n_qubits * k // n_groups for k in range(n_groups + 1)]
        self._wires = [slice(*pair) for pair in itertools.pairwise(edges)]
        self._bases = [phase_basis(circuit, range(w.start, w.stop), dtype) for w in self._wires]

    def load(self, angles: np.ndarray) -> ProductStates:
        """The states of samples with these angles, of shape (B, n_qubits)."""
        return ProductStates(self._bases, self._wires, angles)


class ProductStates:
    """Embedded samples.

    Attributes:
        states: Amplitudes of shape (2ⁿ, B).
    """

    def __init__(self, bases: list[PhaseBasis], wires: list[slice], angles: np.ndarray) -> None:
        self._bases, self._wires = bases, wires
        self._phases: list[np.ndarray] = []
        self._groups: list[np.ndarray] = []
        n_samples = len(angles)
        for basis, group in zip(bases, wires, strict=True):
            half = basis.signs @ angles[:, group].T
            phases = np.empty((2 * len(half), n_samples), dtype=half.dtype)
            np.cos(half, out=phases[: len(half)])
            np.sin(half, out=phases[len(half) :])
            self._phases.append(phases)
            self._groups.append(basis.decoder @ phases)
        # The states of the last group, of the last two, …: the gradient needs them again.
        self._suffixes = [self._groups[-1]]
        for states in reversed(self._groups[:-1]):
            self._suffixes.insert(0, (states[:, None] * self._suffixes[0]).reshape(-1, n_samples))
        self.states = self._suffixes[0]

    def gradient(self, adjoint: np.ndarray) -> np.ndarray:
        """2 Re⟨λ|∂ψ/∂xᵢ⟩ of shape (B, n_qubits), from adjoint states λ of shape (2ⁿ, B)."""
        result = np.empty((adjoint.shape[1], self._wires[-1].stop), dtype=self._phases[0].dtype)
        rest = adjoint.conj() if np.iscomplexobj(adjoint) else adjoint
        last = len(self._groups) - 1
        for k, (basis, phases, states) in enumerate(zip(self._bases, self._phases, self._groups, strict=True)):
            # Earlier groups are already contracted; contract the later ones now.
            rows = rest.reshape(len(states), -1, rest.shape[-1])
            inner = rest if k == last else np.einsum("srb,rb->sb", rows, self._suffixes[k + 1])
            towards = (basis.decoder.T @ inner).real
            half = len(towards) // 2
            slope = phases[:half] * towards[half:]
            slope -= phases[half:] * towards[:half]
            result[:, self._wires[k]] = slope.T @ (2 * basis.signs)
            if k < last:
                rest = np.einsum("srb,sb->rb", rows, states)
        return result
