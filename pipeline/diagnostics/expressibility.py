"""Expressibility: how far a circuit's random states are from all states alike.

In: the fidelities |⟨ψ(θ)|ψ(φ)⟩|² of pairs of random weights. Out: the Kullback-Leibler divergence, in nats, of their
histogram from that of Haar-random states, whose fidelities have the density (N - 1)(1 - F)^(N - 2), N = 2ⁿ. Small is
expressive; a circuit that does nothing has (N - 1) ln(bins).

A histogram of few pairs differs from its own distribution, so that even Haar-random states don't have 0: ``floor`` is
what these would have in the mean with as many pairs.

Source: S. Sim, P. D. Johnson, A. Aspuru-Guzik, "Expressibility and entangling capability of parameterized quantum
circuits", Advanced Quantum Technologies 2, 1900070 (2019), arXiv:1905.10876, section 3.1, with its 75 bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.diagnostics.sampled import Sampled

BINS = 75


@dataclass(frozen=True, kw_only=True)
class Expressibility:
    """The divergence and the histogram that it is of.

    Attributes:
        divergence: In nats.
        floor: The mean divergence of Haar-random states with as many pairs.
        histogram: Share of the pairs in each of ``BINS`` equal bins of the fidelity.
        haar: The same of Haar-random states.
    """

    divergence: Sampled
    floor: float
    histogram: list[float]
    haar: list[float]


def expressibility(fidelities: np.ndarray, n_wires: int) -> Expressibility:
    """The expressibility from the fidelities of pairs, (pairs,), of states of that many wires."""
    pairs = len(fidelities)
    places = np.minimum((np.clip(fidelities, 0, 1) * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    log_haar = log_haar_shares(n_wires)
    # The divergence is the mean of this over the pairs; its own dependence on the counts is of higher order.
    excess = np.log(np.maximum(counts, 1) / pairs) - log_haar
    return Expressibility(
        divergence=Sampled.mean(excess[places]),
        floor=_floor(log_haar, pairs),
        histogram=(counts / pairs).tolist(),
        haar=np.exp(log_haar).tolist(),
    )


def log_haar_shares(n_wires: int) -> np.ndarray:
    """The logarithm of the share of Haar-random pairs in each bin: (1 - a)^(N - 1) - (1 - b)^(N - 1) from a to b."""
    power = 2.0**n_wires - 1
    edges = np.arange(BINS + 1) / BINS
    with np.errstate(divide="ignore"):
        logs = power * np.log1p(-edges)
    return logs[:-1] + np.log1p(-np.exp(logs[1:] - logs[:-1]))


def _floor(log_haar: np.ndarray, pairs: int) -> float:
    """The mean of Σ (n/P) ln(n / P q) over counts n that are binomial with share q of P pairs."""
    from scipy.stats import binom

    counts = np.arange(1, pairs + 1)
    return sum(
        float(binom.pmf(counts, pairs, np.exp(log)) @ (counts / pairs * (np.log(counts / pairs) - log)))
        for log in log_haar
    )
