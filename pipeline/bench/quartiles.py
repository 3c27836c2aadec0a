"""Medians and ratios of timed samples, and how tables show them.

The machine's speed drifts while a benchmark runs, but two rivals of one round run within a second of each other. So the
tables give the median of the ratios of all rounds, not the ratio of two medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quartiles:
    """A median with its quartiles; all three are equal for a figure without spread."""

    median: float
    lower: float
    upper: float


def quartiles(samples: Sequence[float]) -> Quartiles | None:
    """Median and quartiles of samples; None of none."""
    if not samples:
        return None
    lower, median, upper = np.percentile(samples, [25, 50, 75])
    return Quartiles(float(median), float(lower), float(upper))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Quartiles | None:
    """Median and quartiles of the ratios, round by round, of the rounds that both have."""
    return quartiles([above / below for above, below in zip(numerator, denominator, strict=False)])


def number(value: float) -> str:
    """Three significant digits, without powers of ten."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3f}"


def milliseconds(figure: Quartiles) -> str:
    """Seconds as milliseconds, with their quartiles."""
    low, middle, high = (number(1000 * value) for value in (figure.lower, figure.median, figure.upper))
    return f"{middle} ({low}–{high})"


def with_quartiles(figure: Quartiles) -> str:
    """A ratio with its quartiles."""
    return f"{figure.median:.2f} ({figure.lower:.2f}–{figure.upper:.2f})"


def timed(work: Callable[[], object], images: int) -> Callable[[], float]:
    """A call that does the work and returns the seconds that an image took."""

    def seconds_an_image() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / images

    return seconds_an_image
