"""The race: rivals take turns on the same work, A B C A B C …, only one of them running at a time.

In: entrants and pieces of work. Out: a :class:`pipeline.bench.race.outcome.Cell` for each piece of work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.race.outcome import Cell, Outcome
from pipeline.bench.race.rival import PATIENCE, Entrant, Rival, RivalError
from pipeline.bench.race.worker import Work

BLOCK_SECONDS = 0.1
"""How long a rival calls again and again in its turn; a slow one calls once."""
TOLERANCE = 5e-5
"""Largest difference from the reference, relative to its largest entry, that is still rounding of float32."""
MEMORY_SHARE = 0.7
"""The part of the free memory that a rival may be expected to take."""


class Race:
    """All rivals and their results so far.

    Args:
        entrants: Who takes part.
        reference: The entrant whose float64 results the others must reproduce.
        repeats: Rounds.
        limit: Seconds that one rival may take for one piece of work, beyond what happens once.
        threads: Threads of each rival.
    """

    def __init__(
        self, entrants: Sequence[Entrant], reference: Entrant, repeats: int, limit: float, threads: int
    ) -> None:
        self.rivals = {entrant.name: Rival(entrant, threads) for entrant in entrants}
        self.reference = Rival(reference, threads)
        self.repeats, self.limit = repeats, limit
        self.cells: list[Cell] = []

    def __enter__(self) -> Race:
        for rival in (self.reference, *self.rivals.values()):
            rival.start()
        return self

    def __exit__(self, *_: object) -> None:
        for rival in (self.reference, *self.rivals.values()):
            rival.end()

    @property
    def versions(self) -> dict[str, str]:
        """Libraries of all rivals."""
        return {name: version for rival in self.rivals.values() for name, version in rival.versions.items()}

    def run(self, work: Work, progress: Callable[[str], None] = lambda _: None) -> Cell:
        """Check every rival at this work, then time them in turns. Keeps the cell, complete or not, in ``cells``."""
        cell = Cell(work)
        taking_part = [name for name, rival in self.rivals.items() if rival.entrant.takes_part(work)]
        cell.outcomes = {name: self._forecast(name, work) for name in taking_part}
        running: list[str] = []
        results = problem = None
        try:
            for name in [name for name, outcome in cell.outcomes.items() if outcome.status == "timed"]:
                outcome, checked = cell.outcomes[name], self.rivals[name].entrant.checked
                if checked and results is None and problem is None:
                    progress("running the reference")
                    results, problem = self._reference_results(work)
                progress(f"checking {name}")
                if checked and problem is not None:
                    outcome.status, outcome.note = "skipped", f"nothing to compare it with: the reference {problem}"
                elif self._check(self.rivals[name], work, outcome, results):
                    running.append(name)
            self.cells.append(cell)
            for turn in range(self.repeats):
                progress(f"round {turn + 1} of {self.repeats}")
                for name in list(running):
                    outcome = cell.outcomes[name]
                    if turn < self._rounds(outcome) and not self._time(self.rivals[name], outcome):
                        running.remove(name)
        except BaseException:
            # End an interrupted rival: its late answer would be read as that to the next request.
            for rival in (self.reference, *self.rivals.values()):
                rival.end()
            raise
        for name in taking_part:
            self.rivals[name].close()
        return cell

    def _forecast(self, name: str, work: Work) -> Outcome:
        """Decide whether to start, by the time and memory of the rival's nearest smaller work, scaled in proportion."""
        seen = [
            (cell.work, cell.outcomes[name])
            for cell in self.cells
            if name in cell.outcomes
            and cell.work.kind == work.kind
            and cell.work.qubits <= work.qubits
            and cell.work.batch <= work.batch
        ]
        if not seen:
            return Outcome()
        smaller, known = max(seen, key=lambda item: (item[0].qubits, item[0].batch))
        growth = 2 ** (work.qubits - smaller.qubits) * work.batch / smaller.batch
        of = f"{smaller.qubits} qubits, batch {smaller.batch}"
        if known.status in ("skipped", "failed"):
            return Outcome("skipped", known.note if known.note.startswith("as at") else f"as at {of}: {known.note}")
        if known.call_seconds is not None and known.call_seconds * growth * 2 > self.limit:
            seconds = known.call_seconds * growth
            return Outcome("skipped", f"two calls of about {seconds:.0f} s, from {of}; --limit is {self.limit:g} s")
        if known.bytes is not None and known.bytes * growth > MEMORY_SHARE * _free_bytes():
            return Outcome("skipped", f"about {known.bytes * growth / 2**30:.0f} GiB of memory, from {of}")
        return Outcome()

    def _reference_results(self, work: Work) -> tuple[dict[str, Any] | None, str | None]:
        """A rival's results, or the reason why it has none."""
        try:
            self.reference.open(work)
            results = self.reference.ask({"do": "check"}, 2 * PATIENCE)["results"]
        except RivalError as error:
            self.reference.close()
            return None, f"fails: {error}"
        self.reference.close()
        return results, None

    def _check(self, rival: Rival, work: Work, outcome: Outcome, results: Mapping[str, Any] | None) -> bool:
        """Let it do the work twice and compare the results; return whether to time it."""
        try:
            rival.open(work)
            answer = rival.ask({"do": "check"}, PATIENCE + 3 * self.limit)
        except RivalError as error:
            outcome.status, outcome.note = "skipped" if error.refused else "failed", str(error)
            return False
        outcome.first_seconds = answer["make_seconds"] + answer["first_seconds"]
        outcome.call_seconds = answer["second_seconds"]
        outcome.bytes, outcome.first_bytes = answer["bytes"], answer["first_bytes"]
        if results is not None and rival.entrant.checked:
            outcome.error, where = largest_difference(answer["results"], results)
            if not outcome.error <= TOLERANCE:
                outcome.status = "wrong"
                outcome.note = f"its {where} differ from the reference by {outcome.error:.1e} of their largest entry"
                return False
        if outcome.call_seconds > self.limit:
            outcome.status = "skipped"
            outcome.note = f"{outcome.call_seconds:.0f} s a call; --limit is {self.limit:g} s"
            return False
        return True

    def _rounds(self, outcome: Outcome) -> int:
        assert outcome.call_seconds is not None
        turn = outcome.call_seconds if outcome.call_seconds > BLOCK_SECONDS else 1.1 * BLOCK_SECONDS
        return max(1, min(self.repeats, int(self.limit / turn) - 2))

    def _time(self, rival: Rival, outcome: Outcome) -> bool:
        assert outcome.call_seconds is not None
        seconds = BLOCK_SECONDS if outcome.call_seconds <= BLOCK_SECONDS else 0.0
        try:
            answer = rival.ask({"do": "time", "seconds": seconds}, PATIENCE + 3 * self.limit)
        except RivalError as error:
            outcome.status, outcome.note = "failed", str(error)
            return False
        outcome.seconds.append(answer["seconds"])
        outcome.calls.append(answer["calls"])
        outcome.cores.append(answer["cores"])
        return True


def largest_difference(results: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[float, str]:
    """The largest difference, relative to the largest entry of the reference's array, and the array's name.

    Infinite where the shapes differ, something is not finite, or there is nothing to compare.
    """
    worst, where = (0.0, "") if results else (float("inf"), "results")
    for name, values in results.items():
        given, wanted = np.asarray(values, dtype=float), np.asarray(reference.get(name, np.nan), dtype=float)
        difference = float("inf")
        if given.shape == wanted.shape and np.isfinite(given).all() and np.isfinite(wanted).all():
            difference = float(np.abs(given - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-12))
        if difference > worst:
            worst, where = difference, name
    return worst, where


def _free_bytes() -> float:
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")
