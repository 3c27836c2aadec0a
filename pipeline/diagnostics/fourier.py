"""A circuit as a Fourier series of its inputs: which frequencies it has, how large they get, how they hang together.

In: a circuit whose inputs are angles of rotations. Out: its coefficients c_ω in f(x) = Σ c_ω exp(i ω·x) over random
weights, f being the mean of its outputs, or the first where these are probabilities; their mean size and spread; the
correlation of any two, the "fingerprint"; and its mean size off the diagonal, the FCC.

A rotation exp(-iθP/2) with θ = a·x + … gives f the frequencies -a, 0 and a of x, and several of them all sums of
these, so that the highest is the sum of |a|: no sampling is needed to know what a circuit can't have. With few inputs f
is resolved in all of them. Where that grid is too large, all inputs are equal, x = (t, …, t), as in the circuits of the
fingerprints.

Sources: M. Schuld, R. Sweke, J. J. Meyer, "Effect of data encoding on the expressive power of variational quantum
machine-learning models", Physical Review A 103, 032430 (2021), arXiv:2008.08605, equations 3 to 11; M. Strobl et al.,
"Fourier fingerprints of ansatzes in quantum machine learning", arXiv:2508.20868: Pearson's correlation over random
weights, of real and imaginary parts one behind the other, without the conjugate frequencies. Coefficients that are zero
at all weights are left out of the FCC here: their correlation would be that of rounding errors.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.diagnostics.sampled import generator
from pipeline.diagnostics.subject import NotDefinedError, Subject

LARGEST = 729
"""Points of the grid up to which all inputs are resolved: 3⁶."""
NONE = 1e-12
"""A coefficient below this, at all weights, is rounding."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The variables in which f is periodic with 2π: the inputs are ``variables @ directions``.

    Attributes:
        directions: Shape (m, n_inputs).
        degrees: The highest frequency of each variable, (m,).
    """

    directions: np.ndarray
    degrees: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Coefficients over random weights. Of each pair ω, -ω there is one: f is real, so that c_-ω is the conjugate.

    Attributes:
        resolved: Whether all inputs are resolved; otherwise they are all equal.
        units: By what each variable's frequencies are multiplied to be those of its input.
        frequencies: In units, one list of m for each coefficient, the lowest sum of sizes first.
        mean: Mean of |c_ω| over weights.
        spread: Its standard deviation over weights.
        reached: Which coefficients are not zero at all weights.
        correlation: Pearson's, of each two coefficients; 0 where one is not reached.
        fcc: Mean size of the correlations of two different coefficients that are reached; None if there are no two.
        fcc_floor: What it would be in the mean if none were correlated, with as many weights: it shrinks with them.
        trained: |c_ω| at the trained weights; None of a circuit that is not trained.
    """

    resolved: bool
    units: list[float]
    frequencies: list[list[int]]
    mean: list[float]
    spread: list[float]
    reached: list[bool]
    correlation: list[list[float]]
    fcc: float | None
    fcc_floor: float
    trained: list[float] | None = None

    @property
    def n_reached(self) -> int:
        """Coefficients that are not zero at all weights."""
        return sum(self.reached)


def fourier(subject: Subject, samples: int, seed: int) -> Fourier:
    """The coefficients at that many random weights.

    Raises:
        NotDefinedError: If f is no Fourier series with fixed frequencies.
    """
    units, degrees = spectrum(subject)
    found = axes(units, degrees)
    random = generator(seed, "fourier", subject.name)
    sampled = coefficients(subject, subject.draw_weights(random, samples), found)
    kept = half(found.degrees)
    ours = sampled[:, kept]
    sizes = np.abs(ours)
    reached = sizes.max(axis=0) > NONE
    correlation = correlations(ours, reached)
    trained = None
    if subject.trained is not None:
        trained = np.abs(coefficients(subject, subject.trained[None], found)[0, kept]).tolist()
    return Fourier(
        resolved=len(found.degrees) == len(units),
        units=units.tolist() if len(found.degrees) == len(units) else [1.0],
        frequencies=[list(each) for each in _frequencies(found.degrees)[kept].tolist()],
        mean=sizes.mean(axis=0).tolist(),
        spread=sizes.std(axis=0, ddof=1).tolist(),
        reached=reached.tolist(),
        correlation=correlation.tolist(),
        fcc=_fcc(correlation, reached),
        # The mean size of a normal variable of variance 1/m, m being the pairs of numbers: real and imaginary parts.
        fcc_floor=float(np.sqrt(1 / (np.pi * samples))),
        trained=trained,
    )


def spectrum(subject: Subject) -> tuple[np.ndarray, list[int]]:
    """For each input the unit of its frequencies, and the highest in this unit.

    Raises:
        NotDefinedError: If some angle is not linear in the inputs, or inputs are amplitudes.
    """
    program = subject.compiled.program
    if program is None or subject.compiled.simulator == "qnode":
        raise NotDefinedError("its gates are not known: it runs as an ordinary QNode")
    if program.amplitudes is not None:
        raise NotDefinedError("its inputs are amplitudes, not angles")
    if program.polynomials is None or any(p is not None and p.kind == "matrix" for p in program.parameters):
        raise NotDefinedError("its angles are no polynomials of the inputs")
    _, linear, pairs, products = program.polynomials.coefficients("batched")
    n_inputs = program.n_inputs
    if len(pairs) and products[:, (pairs < n_inputs).any(axis=1)].any():
        raise NotDefinedError("an angle is a product with an input: the frequencies depend on other inputs or weights")
    rows = [linear[p.index, :n_inputs] for p in program.parameters if p is not None and p.kind == "batched"]
    slopes = np.abs(np.array(rows).reshape(-1, n_inputs)).round(9)
    units, degrees = np.ones(n_inputs), []
    for place, of_input in enumerate(slopes.T):
        own = of_input[of_input > 0]
        if len(own):
            units[place] = unit(own)
        degrees.append(round(float(own.sum() / units[place])))
    return units, degrees


def unit(slopes: np.ndarray) -> float:
    """The largest number of which all slopes are whole multiples.

    Raises:
        NotDefinedError: If there is none that divides the smallest by 64 or less.
    """
    smallest = float(slopes.min())
    ratios = [Fraction(float(slope) / smallest).limit_denominator(64) for slope in slopes]
    if max(abs(float(ratio) - slope / smallest) for ratio, slope in zip(ratios, slopes, strict=True)) > 1e-6:
        raise NotDefinedError("its inputs enter with factors that have no common measure: f is not periodic")
    return smallest / math.lcm(*(ratio.denominator for ratio in ratios))


def axes(units: np.ndarray, degrees: list[int]) -> Axes:
    """All inputs, each in its own unit; all of them equal where their grid has more than ``LARGEST`` points.

    Raises:
        NotDefinedError: If they are to be equal and their units differ.
    """
    if math.prod(2 * degree + 1 for degree in degrees) <= LARGEST:
        return Axes(directions=np.diag(1 / units), degrees=tuple(degrees))
    if np.ptp(units) > 1e-9:
        raise NotDefinedError("it has too many frequencies to resolve, in several units")
    return Axes(directions=1 / units[None], degrees=(sum(degrees),))


def coefficients(subject: Subject, weights: np.ndarray, found: Axes) -> np.ndarray:
    """All coefficients (heads, K) of f at each of the weights, by a discrete Fourier transform: exact, as f has no
    higher frequencies. Their order is that of ``numpy.fft``, the last variable fastest."""
    shape = tuple(2 * degree + 1 for degree in found.degrees)
    grids = np.meshgrid(*(2 * np.pi * np.arange(size) / size for size in shape), indexing="ij")
    points = np.stack([each.reshape(-1) for each in grids], axis=1) @ found.directions
    # The mean of probabilities is a constant.
    program = subject.compiled.program
    first = program is not None and any(measured.kind == "probs" for measured in program.measurements)
    parts = subject.values(points, weights)
    values = np.concatenate([part[:, :, 0] if first else part.mean(axis=2) for part in parts])
    transformed = np.fft.fftn(values.reshape(-1, *shape), axes=range(1, 1 + len(shape))) / math.prod(shape)
    return transformed.reshape(len(weights), -1)


def half(degrees: tuple[int, ...]) -> np.ndarray:
    """Places of one coefficient of each pair ω, -ω, in the order of ``coefficients``: low sums of |ω| first."""
    frequencies = _frequencies(degrees)
    first = [next((entry for entry in row if entry), 0) >= 0 for row in frequencies.tolist()]
    kept = np.flatnonzero(first)
    return kept[np.argsort(np.abs(frequencies[kept]).sum(axis=1), kind="stable")]


def correlations(sampled: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Pearson's correlation (K, K) of coefficients (heads, K): real parts, then imaginary ones; 0 where not reached."""
    parts = np.concatenate([sampled.real, sampled.imag])
    centred = parts - parts.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    used = reached & (norms > NONE)
    scaled = np.where(used, centred / np.where(used, norms, 1), 0)
    return scaled.T @ scaled


def _fcc(correlation: np.ndarray, reached: np.ndarray) -> float | None:
    kept = np.abs(correlation[np.ix_(reached, reached)])
    return float(kept[np.triu_indices(len(kept), k=1)].mean()) if len(kept) > 1 else None


def _frequencies(degrees: tuple[int, ...]) -> np.ndarray:
    """The frequencies (K, m) in the order of ``numpy.fft``."""
    each = [np.fft.fftfreq(2 * degree + 1, 1 / (2 * degree + 1)).round().astype(int) for degree in degrees]
    return np.array(list(itertools.product(*each))).reshape(-1, len(degrees))
