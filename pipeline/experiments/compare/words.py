"""How a comparison writes its numbers: shares in %, differences of shares in points, other metrics as they are.

In: a number, and the metric it is of. Out: text.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.experiments.statistics import Estimate
from pipeline.util.metrics import METRICS

AS_SHARE = ("accuracy", "balanced_accuracy", "f1_macro")
"""Metrics that people write in %."""


@dataclass(frozen=True)
class Unit:
    """The unit of a metric."""

    metric: str

    @property
    def label(self) -> str:
        """The metric's name for people."""
        return METRICS[self.metric].label

    @property
    def is_share(self) -> bool:
        """Whether it is written in %."""
        return self.metric in AS_SHARE

    @property
    def of_values(self) -> str:
        """The unit of values in a heading."""
        return f"{self.label}, %" if self.is_share else self.label

    @property
    def of_differences(self) -> str:
        """The unit of differences in a heading."""
        return "points" if self.is_share else self.label

    @property
    def scale(self) -> float:
        """What a value is multiplied by in tables and figures."""
        return 100.0 if self.is_share else 1.0

    def value(self, value: float) -> str:
        """A value, without its unit."""
        return f"{100 * value:.1f}" if self.is_share else f"{value:.3f}"

    def difference(self, value: float) -> str:
        """A difference with its sign, without its unit; no sign if it rounds to zero."""
        text = (f"{100 * value:+.1f}" if self.is_share else f"{value:+.3f}").replace("-", "−")
        return text if any(digit in text for digit in "123456789") else text[1:]

    def with_unit(self, text: str) -> str:
        """A difference within a sentence: ``−0.5 points``."""
        return f"{text} points" if self.is_share else text

    def interval(self, found: Estimate | None, signed: bool = False) -> str:
        """The interval of an estimate; a dash where there is none."""
        if found is None or found.low is None or found.high is None:
            return "–"
        show = self.difference if signed else self.value
        return f"{show(found.low)} to {show(found.high)}"

    def is_better(self, difference: float) -> bool:
        """Whether a head that differs so is better."""
        return (difference > 0) == METRICS[self.metric].higher_is_better


def p_value(p: float | None) -> str:
    """A p-value to three places."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float) -> str:
    """A p-value behind ``p``."""
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"
