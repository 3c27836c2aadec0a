"""Results of the rivals at a piece of work: status, memory, and seconds in every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline.bench.quartiles import Quartiles, paired_ratio, quartiles
from pipeline.bench.race.worker import Work

Status = Literal["timed", "skipped", "failed", "wrong"]


@dataclass
class Outcome:
    """Result of one rival at one piece of work.

    Attributes:
        status: ``timed``, ``skipped``, ``failed``, or ``wrong``: its results are not those of the reference.
        note: Why it was not timed.
        error: Largest difference from the reference, relative to its largest entry; None if not compared.
        first_seconds: The first call, including compilation and set-up.
        call_seconds: The second call, from which the number of repetitions is planned.
        bytes: The most memory held in the second call, beyond what the process held before it knew the work.
        first_bytes: The same of the first call.
        seconds: The median call of each round.
        calls: Their number in each round.
        cores: Processor time over wall time in each round.
    """

    status: Status = "timed"
    note: str = ""
    error: float | None = None
    first_seconds: float | None = None
    call_seconds: float | None = None
    bytes: int | None = None
    first_bytes: int | None = None
    seconds: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)


@dataclass
class Cell:
    """A piece of work and the results of all rivals at it."""

    work: Work
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def seconds(self, rival: str) -> list[float]:
        """A rival's seconds in each round; none where it was not timed."""
        outcome = self.outcomes.get(rival)
        return outcome.seconds if outcome is not None and outcome.status == "timed" else []

    def time(self, rival: str) -> Quartiles | None:
        """Median and quartiles of a rival's seconds; None where it was not timed."""
        return quartiles(self.seconds(rival))

    def ratio(self, above: str, below: str) -> Quartiles | None:
        """How many times as long as another a rival takes; None where one of them was not timed."""
        return paired_ratio(self.seconds(above), self.seconds(below))

    def fastest(self, rivals: Sequence[str]) -> str | None:
        """The rival with the lowest median; None if none was timed."""
        medians = {name: time.median for name in rivals if (time := self.time(name)) is not None}
        return min(medians, key=medians.__getitem__, default=None)

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self.work) | {"rivals": {name: asdict(outcome) for name, outcome in self.outcomes.items()}}
