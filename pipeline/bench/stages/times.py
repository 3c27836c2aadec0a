"""What the records of all timed stages have in common.

In: when and where a benchmark runs. Out: :class:`StageTimes`, and the tables with the bounds behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from features.util.provenance import versions
from pipeline.bench.environment import Machine, machine
from pipeline.bench.targets import Reached, targets_table


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """The beginning of a stage's record.

    Attributes:
        created: UTC time, ISO 8601.
        machine: Where it ran.
        versions: Libraries.
    """

    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: Machine = field(default_factory=machine)
    versions: dict[str, str] = field(default_factory=versions)


def page(parts: Sequence[str], targets: Sequence[Reached]) -> str:
    """The parts of a page, and a table of the bounds if there are any, as Markdown."""
    return "\n\n".join([*parts, targets_table(targets)] if targets else parts)
