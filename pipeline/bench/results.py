"""The results of a race: what ``bench.json`` holds, and what tables, plot and targets are made of."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.bench.config import BenchConfig
from pipeline.bench.environment import Machine
from pipeline.bench.quartiles import Quartiles, quartiles
from pipeline.bench.race.entrants import LABELS, OURS
from pipeline.bench.race.outcome import Cell
from pipeline.bench.stages.wholerun import TrainingTimes
from pipeline.bench.targets import Reached

FORMAT_VERSION = 1
EXAMPLES = (
    "step, 4 qubits, batch 4: ours_lightning / floor",
    "step, 4 qubits, batch 4: ours / tensorcircuit",
    "strongly_entangling, 8 qubits, batch 32: ours_lightning, ms",
    "circuit, 16 qubits, batch 32: ours_lightning, MiB",
    "circuit, 16 qubits, batch 4 to 256: ours_lightning, MiB",
    "train: wall_seconds",
)
"""An example of each kind of figure that a target can bound."""
_RATIO = re.compile(r"(\w+), (\d+) qubits, batch (\d+): (\w+) / (\w+)")
_TIME = re.compile(r"(\w+), (\d+) qubits, batch (\d+): (\w+), ms")
_MEMORY = re.compile(r"(\w+), (\d+) qubits, batch (?:(\d+) to )?(\d+): (\w+), MiB")
_TRAINING = re.compile(r"train( --seeds 100)?: (wall_seconds|training_seconds)")


def is_figure(name: str) -> bool:
    """Whether a name is that of a figure of a race."""
    if found := _RATIO.fullmatch(name):
        return {"ours", *LABELS}.issuperset(found.groups()[-2:])
    if found := _MEMORY.fullmatch(name) or _TIME.fullmatch(name):
        return found.groups()[-1] in LABELS
    return _TRAINING.fullmatch(name) is not None


@dataclass(kw_only=True)
class Results:
    """Results of a race, complete or stopped early.

    Attributes:
        created: UTC time, ISO 8601.
        complete: Whether all work is done.
        config: The flags.
        repeats: Rounds.
        machine: Where it ran.
        versions: Libraries of all rivals.
        cells: The work that is done.
        training: Whole training runs.
        targets: Bounds on the figures, and what was reached.
        left_out: Peers that take no part, and why.
    """

    created: str
    config: BenchConfig
    repeats: int
    machine: Machine
    left_out: dict[str, str]
    complete: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    training: list[TrainingTimes] = field(default_factory=list)
    targets: list[Reached] = field(default_factory=list)

    def figure(self, name: str) -> Quartiles | None:
        """The figure of such a name (see :func:`is_figure`); None where it was not measured."""
        if found := _RATIO.fullmatch(name):
            kind, qubits, batch, *rivals = found.groups()
            cell = self._cell(kind, int(qubits), int(batch))
            if cell is None:
                return None
            above, below = (cell.fastest(OURS) if rival == "ours" else rival for rival in rivals)
            return cell.ratio(above, below) if above and below else None
        if found := _TIME.fullmatch(name):
            kind, qubits, batch, rival = found.groups()
            cell = self._cell(kind, int(qubits), int(batch))
            return None if cell is None else quartiles([1000 * seconds for seconds in cell.seconds(rival)])
        if found := _MEMORY.fullmatch(name):
            kind, qubits, less, batch, rival = found.groups()
            most, least = self._mebibytes(kind, qubits, batch, rival), 0.0
            if less is not None:
                start = self._mebibytes(kind, qubits, less, rival)
                most, least = (None, 0.0) if start is None else (most, start)
            return None if most is None else Quartiles(most - least, most - least, most - least)
        command, quantity = name.split(": ")
        return next((quartiles(getattr(run, quantity)) for run in self.training if run.name == command), None)

    def record(self) -> dict[str, Any]:
        """As ``bench.json`` holds it."""
        return {
            "format_version": FORMAT_VERSION,
            "created": self.created,
            "complete": self.complete,
            "peers": self.config.peers,
            "config": asdict(self.config)
            | {"out": str(self.config.out), "targets": self.config.targets and str(self.config.targets)}
            | {"repeats": self.repeats},
            "machine": asdict(self.machine),
            "versions": self.versions,
            "cells": [cell.record() for cell in self.cells],
            "training": [asdict(run) for run in self.training],
            "targets": [asdict(row) for row in self.targets],
            "left_out": self.left_out,
        }

    def _cell(self, kind: str, qubits: int, batch: int) -> Cell | None:
        wanted = (kind, qubits, batch)
        return next((c for c in self.cells if (c.work.kind, c.work.qubits, c.work.batch) == wanted), None)

    def _mebibytes(self, kind: str, qubits: str, batch: str, rival: str) -> float | None:
        """Peak memory of a rival at a piece of work."""
        cell = self._cell(kind, int(qubits), int(batch))
        outcome = None if cell is None else cell.outcomes.get(rival)
        return None if outcome is None or outcome.bytes is None else outcome.bytes / 2**20
