"""The record of the table, as ``paper.json`` holds it, with the statistics of every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pipeline.experiments.paper.row import Curve, Entry, RowHeading
from pipeline.experiments.statistics import estimate

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A mean over seeds, which are independent, and its 95 % confidence interval: None where there is no spread."""

    mean: float
    interval95: list[float] | None


@dataclass(frozen=True, kw_only=True)
class Accuracies(Summary):
    """The same of accuracies, with each seed's."""

    accuracies: list[float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model on one task, a line of the table: :class:`pipeline.experiments.paper.row.Entry` with its statistics.

    Attributes:
        first_minus_this: The task's first model less this one, seed by seed; None for the first.
    """

    task: str
    model: str
    published: float | None
    parameters: int
    last: Accuracies
    best: Accuracies | None
    seconds: float
    first_minus_this: Summary | None


@dataclass(frozen=True, kw_only=True)
class RowRecord(RowHeading):
    """A row of the table.

    Attributes:
        status: ``done`` or ``skipped``.
        reason: Why it was skipped.
        fingerprint: Of all that the rest depends on.
        settings: Hyperparameters of its trainings.
        entries: Its lines.
        notes: What a reader must know of them.
        pictures: File names, each with what it shows in words.
        curves: Test accuracy while training, by model.
    """

    status: Literal["done", "skipped"]
    reason: str = ""
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    entries: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The whole table."""

    format_version: int = FORMAT_VERSION
    created: str
    seeds: list[int]
    versions: dict[str, str]
    rows: list[RowRecord]


def summary(values: Sequence[float], least: float, most: float) -> Summary:
    """Mean and interval of values that lie between ``least`` and ``most``: Student's t does not know such ends."""
    found = estimate(values, overlap=0).within(least, most)
    interval = None if found.low is None or found.high is None else [found.low, found.high]
    return Summary(mean=found.mean, interval95=interval)


def accuracies(values: list[float]) -> Accuracies:
    """Mean and interval of accuracies."""
    found = summary(values, 0, 1)
    return Accuracies(mean=found.mean, interval95=found.interval95, accuracies=values)


def lines(entries: Sequence[Entry]) -> list[Line]:
    """The entries of a row with their statistics."""
    firsts = {entry.task: entry for entry in reversed(entries)}
    return [
        Line(
            task=entry.task,
            model=entry.model,
            published=entry.published,
            parameters=entry.parameters,
            last=accuracies(entry.last),
            best=None if entry.best is None else accuracies(entry.best),
            seconds=entry.seconds,
            first_minus_this=None
            if firsts[entry.task] is entry
            else summary(np.subtract(firsts[entry.task].last, entry.last).tolist(), -1, 1),
        )
        for entry in entries
    ]
