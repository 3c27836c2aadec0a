"""What a row of the table is: what it needs, what it trains, and what came out, beside what the paper printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.experiments.statistics import estimate


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all rows share.

    Attributes:
        out: The folder for the table, the pictures and the caches that rows make.
        features: The cached features of ants and bees.
        cifar: Where stage 1 gets CIFAR-10 from: its name, or a folder.
        weights: What stage 1 makes features with, if a row needs more of them.
        seeds: Seeds of everything that is drawn.
    """

    out: Path
    features: Path
    cifar: str
    weights: str
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one task: a line of the table.

    Attributes:
        task: What is classified. The first entry of a task is what the others are compared with, seed by seed.
        model: What classifies it.
        published: The accuracy that the paper, or a notebook published with it, printed.
        parameters: Numbers that training changes.
        last: Test accuracy of every seed at the end of training.
        best: The same in the epoch that is best on those very test samples, where the published number is such a one.
        seconds: Time that training took, all seeds together.
    """

    task: str
    model: str
    published: float | None = None
    parameters: int
    last: list[float]
    best: list[float] | None = None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a row came to.

    Attributes:
        entries: The lines of the table.
        notes: What a reader must know of them.
        pictures: File names in the row's folder, each with what it shows in words.
        curves: Test accuracy while training: for each model the ``steps``, and the ``accuracies`` of all seeds at each.
    """

    entries: list[Entry]
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    curves: dict[str, dict[str, list]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON holds it, with the statistics of every entry."""
        firsts = {entry.task: entry for entry in reversed(self.entries)}
        return asdict(self) | {
            "entries": [
                asdict(entry)
                | {"last": _spread(entry.last), "best": None if entry.best is None else _spread(entry.best)}
                | {"first_minus_this": _difference(firsts[entry.task], entry)}
                for entry in self.entries
            ]
        }


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row that is ready to run.

    Attributes:
        settings: All that its outcome follows from, but for the seeds: a row done with equal ones is kept.
        run: Does the work.
    """

    settings: dict[str, Any]
    run: Callable[[], Outcome]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        name: What ``--rows`` calls it.
        system: CC, CQ, dressed circuit, QC or QQ.
        words: What it is, in a few words.
        published: The number it is known by.
        published_time: The time that was printed for it.
        prepare: Gets the data; raises an InputError with the reason if they are not to be had.
    """

    name: str
    system: str
    words: str
    published: float
    published_time: str
    prepare: Callable[[Context], Job]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """The mean over seeds, which are independent, and its 95 % confidence interval: None where there is no spread."""
    found = estimate(values, overlap=0)
    return {"mean": found.mean, "interval95": None if found.low is None else [found.low, found.high]}


def _spread(accuracies: list[float]) -> dict[str, Any]:
    spread = summary(accuracies)
    if spread["interval95"] is not None:
        # Student's t does not know that an accuracy ends at 1.
        spread["interval95"] = np.clip(spread["interval95"], 0, 1).tolist()
    return spread | {"accuracies": accuracies}


def _difference(first: Entry, entry: Entry) -> dict[str, Any] | None:
    if first is entry:
        return None
    return summary(np.subtract(first.last, entry.last).tolist())
