"""How the report writes numbers and names.

In: a number or a name. Out: its text, for the page, its pictures and sentences alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.util.metrics import METRICS

LONGEST = 20
"""Letters of a name in a picture."""


def percent(share: float) -> str:
    """A share: 92.8 %."""
    return f"{100 * share:.1f}\u00a0%"


def score(name: str, value: float) -> str:
    """The value of a metric, in percent or with three decimals, as people write it."""
    return percent(value) if METRICS[name].percent else f"{value:.3f}"


def interval(name: str, ends: Sequence[float]) -> str:
    """The interval of a metric: 87.6 to 95.9 %."""
    low, high = (score(name, end) for end in ends)
    return f"{low.removesuffix(percent(0)[-2:])} to {high}"


def short(name: str) -> str:
    """A name, cut where it is longer than ``LONGEST``."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def in_legend(name: str) -> str:
    """A name in a legend. One that starts with an underscore would be left out of it: this one never does."""
    return f"\u200b{short(name)}"
