"""Medians and ratios of a benchmark's samples.

In: the record of a benchmark, as ``bench.json`` holds it. Out: figures with their quartiles.

The machine's speed drifts while a benchmark runs. Two rivals of one round ran within a second of each other: so their
ratio is taken in each round, and the median of these ratios stands, not the ratio of two medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A median with its quartiles."""

    median: float
    lower: float
    upper: float


def summary(samples: Sequence[float]) -> Figure | None:
    """Median and quartiles of samples; None of none."""
    if not samples:
        return None
    lower, median, upper = np.percentile(samples, [25, 50, 75])
    return Figure(float(median), float(lower), float(upper))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Figure | None:
    """Median and quartiles of the ratios, round by round, of the rounds that both have."""
    return summary([above / below for above, below in zip(numerator, denominator, strict=False)])


def shown(figure: Figure) -> str:
    """A figure in a table."""
    return f"{figure.median:.2f} ({figure.lower:.2f}–{figure.upper:.2f})"


def timed(work: Callable[[], object], images: int) -> Callable[[], float]:
    """A call that does the work and returns the seconds that an image took."""

    def seconds_an_image() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) / images

    return seconds_an_image


def find_cell(record: Mapping[str, Any], kind: str, qubits: int, batch: int) -> Mapping[str, Any] | None:
    """The cell of this work; None if it was not done."""
    wanted = (kind, qubits, batch)
    return next((c for c in record["cells"] if (c["kind"], c["qubits"], c["batch"]) == wanted), None)


def seconds(cell: Mapping[str, Any] | None, rival: str) -> list[float]:
    """A rival's seconds in each round; none where it was not timed."""
    if cell is None or rival not in cell["rivals"] or cell["rivals"][rival]["status"] != "timed":
        return []
    return list(cell["rivals"][rival]["seconds"])


def fastest(cell: Mapping[str, Any] | None, rivals: Sequence[str]) -> str | None:
    """The rival with the lowest median; None if none was timed."""
    medians = {name: figure.median for name in rivals if (figure := summary(seconds(cell, name))) is not None}
    return min(medians, key=medians.__getitem__, default=None)
