"""Where a circuit starts: |0…0⟩, amplitudes from the inputs, or a product state of one rotation layer a sample.

For the third, the cosines and sines of all Σ ±θ/2 of a few wires, times a fixed matrix, are the amplitudes of these
wires.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from pipeline.quantum.engine.layers import Layer, Schedule
from pipeline.quantum.matrices import rows_of, z_signs
from pipeline.quantum.program.program import Amplitudes

GROUP = 4
"""Wires embedded by one matrix. At 16 amplitudes the product costs no more than the call."""


class ConstantFront:
    """The same state for all samples: one column."""

    def __init__(self, state: np.ndarray) -> None:
        self._state = state[:, None]

    def load(self, _parameters: Any) -> tuple[np.ndarray, Any]:
        """The states, of shape (2ⁿ, 1), and what ``add_gradient`` needs."""
        return self._state, None

    needs_adjoint = False

    def add_gradient(self, memory: Any, adjoint: np.ndarray, gradient: Any) -> None:
        """There is none."""


class InitialStates:
    """Amplitudes from inputs, padded and normalised, and their gradient.

    Args:
        spec: How inputs become amplitudes.
        inputs: Shape (n_inputs, columns): samples, or samples of ``n_heads`` heads, the head last.

    Attributes:
        states: Shape (2^k, columns).

    Raises:
        ValueError: If a column can't be a state.
    """

    def __init__(self, spec: Amplitudes, inputs: np.ndarray, n_heads: int = 1) -> None:
        self._n_inputs, self._norms = len(inputs), None
        self.states = np.full((2 ** len(spec.wires), inputs.shape[1]), spec.pad or 0.0, dtype=inputs.dtype)
        self.states[: len(inputs)] = inputs
        norms = np.sqrt(np.add.reduce(self.states * self.states, axis=0))
        if spec.normalise:
            if not norms.all():
                raise ValueError(
                    f"row {int(np.argmin(norms)) // n_heads} of the inputs is all zeros: it cannot be normalised to a "
                    "state"
                )
            self.states /= norms
            self._norms = norms
        elif np.abs(norms - 1).max(initial=0) > 1e-3:
            worst = int(np.abs(norms - 1).argmax())
            raise ValueError(
                f"row {worst // n_heads} of the inputs has norm {norms[worst]:.4g}; "
                "a state has norm 1: normalise the inputs, or give the circuit normalize=True"
            )

    def gradient(self, slope: np.ndarray) -> np.ndarray:
        """The inputs' gradient from that of the states."""
        if self._norms is not None:
            slope = (slope - self.states * (slope * self.states).sum(axis=0)) / self._norms
        return slope[: self._n_inputs]


class AmplitudeFront:
    """States from amplitudes on some wires, the others being |0⟩."""

    def __init__(self, spec: Amplitudes, n_wires: int, dtype: np.dtype) -> None:
        self._rows = rows_of(spec.wires, n_wires)
        self._whole = spec.wires == tuple(range(n_wires))
        self._dim, self._dtype = 2**n_wires, dtype

    needs_adjoint = True

    def load(self, parameters: Any) -> tuple[np.ndarray, Any]:
        """The states, of shape (2ⁿ, B)."""
        if self._whole:
            return np.ascontiguousarray(parameters.amplitudes, dtype=self._dtype), None
        states = np.zeros((self._dim, parameters.amplitudes.shape[1]), dtype=self._dtype)
        states[self._rows] = parameters.amplitudes
        return states, None

    def add_gradient(self, _memory: Any, adjoint: np.ndarray, gradient: Any) -> None:
        """The amplitudes' gradient is twice the adjoint states at the start."""
        gradient.amplitudes = 2 * adjoint[self._rows]


class ProductFront:
    """Product states, one rotation a wire and sample, in groups of neighbouring wires.

    Args:
        ends: The states of each wire at angle 0 and π, of shape (n, 2, 2), complex or real.
        sums: Which batched angles add up on each wire, shape (n, n_batched).
        dtype: Of the angles; the states are complex if ``ends`` are.
    """

    def __init__(self, ends: np.ndarray, sums: np.ndarray, dtype: np.dtype) -> None:
        n_wires = len(ends)
        self._sums = None if np.array_equal(sums, np.eye(n_wires)) else sums.astype(dtype)
        n_groups = math.ceil(n_wires / GROUP)
        edges = [n_wires * k // n_groups for k in range(n_groups + 1)]
        self._wires = [slice(*pair) for pair in itertools.pairwise(edges)]
        self._signs, self._decoders = [], []
        for wires in self._wires:
            basis = np.ones((1, 1), dtype=complex)
            for at_0, at_pi in ends[wires]:
                # cos(x/2) u + sin(x/2) v = exp(ix/2) (u - iv)/2 + exp(-ix/2) (u + iv)/2
                basis = np.kron(basis, np.stack([at_0 - 1j * at_pi, at_0 + 1j * at_pi], axis=-1) / 2)
            # b exp(iφ) + b' exp(-iφ) = (b + b') cos φ + i (b - b') sin φ; the opposite phases stand in reverse order.
            half = basis.shape[1] // 2
            first, opposite = basis[:, :half], basis[:, : half - 1 : -1]
            self._signs.append(np.ascontiguousarray(z_signs(wires.stop - wires.start).T[:half] / 2, dtype=dtype))
            decoder = np.concatenate([first + opposite, 1j * (first - opposite)], axis=1)
            if np.iscomplexobj(ends):
                self._decoders.append(decoder.astype(np.result_type(dtype, np.complex64)))
            else:
                self._decoders.append(decoder.real.astype(dtype))

    needs_adjoint = True

    def load(self, parameters: Any) -> tuple[np.ndarray, Any]:
        """The states, of shape (2ⁿ, B), and what ``add_gradient`` needs."""
        angles = parameters.batched if self._sums is None else self._sums @ parameters.batched
        phases, groups = [], []
        for wires, signs, decoder in zip(self._wires, self._signs, self._decoders, strict=True):
            half = signs.dot(angles[wires])
            waves = np.empty((2 * len(half), half.shape[1]), dtype=half.dtype)
            np.cos(half, out=waves[: len(half)])
            np.sin(half, out=waves[len(half) :])
            phases.append(waves)
            groups.append(decoder.dot(waves))
        # The states of the last group, of the last two, …: the gradient needs them again.
        suffixes = [groups[-1]]
        for states in reversed(groups[:-1]):
            suffixes.insert(0, (states[:, None] * suffixes[0]).reshape(-1, states.shape[1]))
        return suffixes[0], (phases, groups, suffixes)

    def add_gradient(self, memory: Any, adjoint: np.ndarray, gradient: Any) -> None:
        """2⟨λ|∂ψ/∂θ⟩ of the batched angles."""
        phases, groups, suffixes = memory
        slopes = []
        # Of real states only the real part counts.
        rest, last = adjoint.conj() if np.iscomplexobj(groups[0]) else adjoint.real, len(groups) - 1
        for k, (signs, decoder, waves, states) in enumerate(
            zip(self._signs, self._decoders, phases, groups, strict=True)
        ):
            # Earlier groups are already contracted; contract the later ones now.
            rows = rest.reshape(len(states), -1, rest.shape[-1])
            inner = rest if k == last else np.einsum("srb,rb->sb", rows, suffixes[k + 1])
            towards = decoder.T.dot(inner).real
            half = len(towards) // 2
            slope = waves[:half] * towards[half:]
            slope -= waves[half:] * towards[:half]
            slopes.append(signs.T.dot(slope))
            if k < last:
                rest = np.einsum("srb,sb->rb", rows, states)
        result = slopes[0] if len(slopes) == 1 else np.concatenate(slopes)
        result *= 2
        gradient.batched += result if self._sums is None else self._sums.T.dot(result)


def product_front(schedule: Schedule, n_wires: int, n_batched: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The wires' states and sums of a ``ProductFront``, if the circuit starts with one.

    Takes the front's gates out of the schedule: the first layer, and the fixed gates of single wires around it.
    """
    layers, fixed = schedule.layers, schedule.fixed
    if not layers or layers[0].kind != "phases" or any(len(gate.wires) > 1 for gate in fixed[0]):
        return None
    first = layers[0]
    if any(len(wires) > 1 or parameter.kind != "batched" for wires, parameter in first.words):
        return None
    starts = np.tile(np.array([1, 0], dtype=complex), (n_wires, 1))
    for gate in fixed[0]:
        assert gate.matrix is not None
        starts[gate.wires[0]] = gate.matrix @ starts[gate.wires[0]]
    sums = np.zeros((n_wires, n_batched))
    for wires, parameter in first.words:
        sums[wires[0], parameter.index] += 1
    behind = layers[1] if len(layers) > 1 else Layer("none")
    taken: list[Any] = []
    ends = np.empty((n_wires, 2, 2), dtype=complex)
    for wire, start in enumerate(starts):
        after = np.eye(2, dtype=complex)
        before = next((gate for gate in fixed[1] if wire in gate.wires), None)
        run = behind.runs.get(wire, [])
        if before is not None and len(before.wires) == 1:
            assert before.matrix is not None
            after = before.matrix
            taken.append((fixed[1], before))
        elif before is None and run and isinstance(run[0], np.ndarray):
            after = run[0]
            taken.append((run, run[0]))
        # RZ(π) = -iZ
        ends[wire] = after @ start, after @ (np.array([-1j, 1j]) * start)
    # A global phase can't be measured: divide out the one that makes the states real, where one does.
    for wire in range(n_wires):
        largest = ends[wire].reshape(-1)[np.abs(ends[wire]).argmax()]
        ends[wire] *= np.abs(largest) / largest
    for gates, gate in taken:
        gates[:] = [other for other in gates if other is not gate]
    del layers[0], fixed[0]
    if behind.runs:
        behind.runs = {wire: run for wire, run in behind.runs.items() if run}
    return (ends if np.abs(ends.imag).max() > 1e-12 else ends.real), sums
