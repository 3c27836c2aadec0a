"""A row of the table: its data, its training, its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all rows share.

    Attributes:
        out: The folder for the table, the pictures and the caches that rows make.
        features: The cached features of ants and bees.
        cifar: Where stage 1 gets CIFAR-10 from: its name, or a folder.
        weights: The backbone's weights, for rows that have stage 1 make features.
        seeds: Seeds of everything that is drawn.
    """

    out: Path
    features: Path
    cifar: str
    weights: str
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one task.

    Attributes:
        task: What is classified. The first entry of a task is what the others are compared with, seed by seed.
        model: What classifies it.
        published: The accuracy that the paper, or a notebook published with it, printed.
        parameters: How many numbers training changes.
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
class Curve:
    """Test accuracy while training: of shape (len(steps), networks), after so many steps."""

    steps: list[int]
    accuracies: list[list[float]]

    @property
    def last(self) -> list[float]:
        """The accuracy of each network at the end."""
        return self.accuracies[-1]


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """The result of a row.

    Attributes:
        entries: One for each model and task.
        notes: What a reader must know of them.
        pictures: File names in the folder of the table, each with what it shows in words.
        curves: Test accuracy while training, by model.
    """

    entries: list[Entry]
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row that is ready to run.

    Attributes:
        settings: All that its result depends on except the seeds: a row done with equal ones is kept.
        run: Does the work.
    """

    settings: dict[str, Any]
    run: Callable[[], RowResult]


@dataclass(frozen=True, kw_only=True)
class RowHeading:
    """The heading of a row of the table.

    Attributes:
        name: Its name in ``--rows``.
        system: CC, CQ, dressed circuit, QC or QQ.
        words: What it is, in a few words.
        published: The accuracy that the paper printed.
        published_time: The time that it printed.
    """

    name: str
    system: str
    words: str
    published: float
    published_time: str


@dataclass(frozen=True, kw_only=True)
class Row(RowHeading):
    """A row of the table before it runs.

    Attributes:
        prepare: Gets the data. Raises an InputError with the reason if they can't be had.
    """

    prepare: Callable[[Context], Job]
