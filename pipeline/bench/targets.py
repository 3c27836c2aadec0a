"""Bounds on a benchmark's figures, and whether they are met.

In: a CSV file with the columns ``benchmark`` (race, peers, extraction, hybrid or streaming), ``figure`` (its name) and
``bound`` (such as ``<= 1.5``). Out: a row a bound. The bounds that this project set itself are in
``tests/bench/targets.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.util.errors import InputError, did_you_mean, listing
from pipeline.bench.quartiles import Quartiles, number
from pipeline.util.markdown import markdown

BENCHMARKS = ("race", "peers", "extraction", "hybrid", "streaming")
COLUMNS = ("benchmark", "figure", "bound")


@dataclass(frozen=True)
class Target:
    """A bound on a figure: at most ``target``, or at least that much."""

    what: str
    target: float
    at_most: bool


@dataclass(frozen=True)
class Reached(Target):
    """A bound and what was reached: median and quartiles; None where the figure was not measured."""

    figure: float | None = None
    lower: float | None = None
    upper: float | None = None
    met: bool | None = None


def read_targets(
    file: Path | None, benchmark: str, known: Callable[[str], bool], examples: Sequence[str]
) -> list[Target]:
    """The bounds on the figures of one benchmark; none without a file.

    Args:
        file: The CSV file.
        benchmark: Whose bounds to take.
        known: Whether a name is that of a figure of this benchmark.
        examples: Such names, for the message.

    Raises:
        InputError: If the file can't be read, listing all rows that are not understood.
    """
    if file is None:
        return []
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--targets {file} can't be read: {error}; name a CSV file of {', '.join(COLUMNS)}") from error
    problems, targets = [], []
    for line, row in enumerate(rows, 2):
        name, what, bound = (row.get(column) or "" for column in COLUMNS)
        sign, _, limit = bound.partition(" ")
        if name not in BENCHMARKS:
            problems.append(f"line {line}: benchmark is {name!r}; choose one of {', '.join(BENCHMARKS)}")
        elif sign not in ("<=", ">=") or not _is_number(limit):
            problems.append(f"line {line}: bound is {bound!r}; write <= 1.5 or >= 1.5, for example")
        elif name == benchmark and not known(what):
            hint = did_you_mean(what, examples)
            problems.append(f"line {line}: {benchmark} has no figure {what!r}{hint}; such are: {'; '.join(examples)}")
        elif name == benchmark:
            targets.append(Target(what, float(limit), sign == "<="))
    if problems:
        raise InputError(f"--targets {file} has rows that can't be used:\n{listing(problems)}")
    return targets


def judge(targets: Iterable[Target], figure: Callable[[str], Quartiles | None]) -> list[Reached]:
    """What was reached of each target, from the figure of its name; None where that was not measured."""
    rows = []
    for target in targets:
        found, bound = figure(target.what), (target.what, target.target, target.at_most)
        if found is None:
            rows.append(Reached(*bound))
        else:
            met = found.median <= target.target if target.at_most else found.median >= target.target
            rows.append(Reached(*bound, found.median, found.lower, found.upper, met))
    return rows


def targets_table(rows: Sequence[Reached]) -> str:
    """Figures, bounds, what was reached and whether it is enough, as Markdown."""
    table = [["figure", "target", "reached", "quartiles", ""]]
    for row in rows:
        bound = f"{'≤' if row.at_most else '≥'} {row.target:g}"
        if row.figure is None or row.lower is None or row.upper is None:
            table.append([row.what, bound, "–", "", "not measured"])
        else:
            spread = "" if row.lower == row.upper else f"{_shown(row.lower)} to {_shown(row.upper)}"
            table.append([row.what, bound, _shown(row.figure), spread, "met" if row.met else "**missed**"])
    return markdown(table)


def _shown(value: float) -> str:
    return number(value) if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
