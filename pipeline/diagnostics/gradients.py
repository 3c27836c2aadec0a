"""The variance of gradients over qubits and depth: does a circuit have a barren plateau?

In: a circuit of each size. Out: for each Var[∂f/∂θ] over random weights and inputs, f being the first output (⟨Z⟩ of
the first wire in circuits by name), as the mean over those weights that f depends on; and by which factor each further
qubit changes it.

Source: J. R. McClean et al., "Barren plateaus in quantum neural network training landscapes", Nature Communications 9,
4812 (2018), arXiv:1803.11173. The mean over weights, instead of one of them, and the restriction to weights that f
depends on are ours: a shallow circuit's first output depends on few weights, which is no plateau.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.diagnostics.sampled import Sampled, generator
from pipeline.diagnostics.subject import Subject

NONE = 1e-12
"""A derivative below this is rounding."""


@dataclass(frozen=True, kw_only=True)
class GradientVariance:
    """Var[∂f/∂θ] of one size.

    Attributes:
        qubits: Wires.
        depth: Layers.
        variance: The mean over weights that f depends on; None if there is none.
    """

    qubits: int
    depth: int
    variance: Sampled | None


@dataclass(frozen=True, kw_only=True)
class Decay:
    """How the variance changes with the number of qubits, at one depth.

    Attributes:
        depth: Layers.
        slope: Of the logarithm of the variance over qubits.
        factor: exp(slope): what each further qubit multiplies the variance by.
    """

    depth: int
    slope: Sampled
    factor: float


def gradient_variance(subject: Subject, depth: int, samples: int, seed: int) -> GradientVariance:
    """The variance at one size, from that many random weights and inputs."""
    qubits = subject.n_wires
    random = generator(seed, "gradients", subject.name, qubits, depth)
    inputs, weights = subject.draw_inputs(random, samples), subject.draw_weights(random, samples)
    first = np.eye(1, subject.compiled.n_outputs)
    variance = None
    if subject.n_weights:
        (gradients,) = subject.gradients(inputs, weights, first)
        gradients = gradients[:, np.abs(gradients).max(axis=0) > NONE]
        if gradients.size:
            squares = (gradients - gradients.mean(axis=0)) ** 2
            variance = Sampled.mean(squares.mean(axis=1) * samples / (samples - 1))
    return GradientVariance(qubits=qubits, depth=depth, variance=variance)


def decays(found: Sequence[GradientVariance]) -> list[Decay]:
    """The slope of log variance over qubits for each depth of two sizes or more: least squares, weighted by errors."""
    result = []
    for depth in sorted({each.depth for each in found}):
        points = [
            (each.qubits, each.variance)
            for each in found
            if each.depth == depth and each.variance and each.variance.value
        ]
        if len(points) > 1:
            result.append(_decay(depth, points))
    return result


def _decay(depth: int, points: Sequence[tuple[int, Sampled]]) -> Decay:
    qubits = np.array([n for n, _ in points], dtype=float)
    logs = np.log([variance.value for _, variance in points])
    # Of a variance without any spread the error is 0; such a point counts much, but not infinitely.
    errors = np.array([max(variance.error / variance.value, 1e-6) for _, variance in points])
    shares = errors**-2 / (errors**-2).sum()
    centred = qubits - shares @ qubits
    spread = shares @ centred**2
    slope = float(shares @ (centred * logs) / spread)
    error = float(1 / np.sqrt((errors**-2).sum() * spread))
    return Decay(depth=depth, slope=Sampled(value=slope, error=error), factor=float(np.exp(slope)))
