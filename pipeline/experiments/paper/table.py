"""The table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io

from pipeline.experiments.paper.record import Line, Summary, Table
from pipeline.experiments.statistics import too_few
from pipeline.util.markdown import markdown

HEADING = (
    "system",
    "task",
    "model",
    "at the end",
    "best epoch",
    "published",
    "first − this",
    "time here",
    "time printed",
)


def render(table: Table) -> str:
    """The table, and beneath it what a reader must know."""
    rows: list[tuple[str, ...]] = [HEADING]
    notes: dict[str, None] = {}
    for row in table.rows:
        if row.status == "skipped":
            published = f"{row.published:.4f}"
            rows.append((row.system, row.words, "skipped", "", "", published, "", "", row.published_time))
            notes[f"{row.name} skipped: {' '.join(row.reason.split())}"] = None
            continue
        before = None
        for entry in row.entries:
            first = before is None
            rows.append(
                (
                    row.system if first else "",
                    "" if entry.task == before else entry.task,
                    entry.model,
                    spread(entry.last),
                    spread(entry.best),
                    "" if entry.published is None else f"{entry.published:.4f}",
                    spread(entry.first_minus_this, signed=True),
                    f"{entry.seconds:.1f} s",
                    row.published_time if first else "",
                )
            )
            before = entry.task
        notes |= dict.fromkeys(row.notes)
    legend = [
        f"Accuracy on held-out samples at the end of training: mean over {len(table.seeds)} seeds, and the 95 % "
        "confidence interval of the mean (Student's t). Best epoch: chosen by the very samples it is scored on, as the "
        "paper does for images, so flattered. First − this: the task's first model less this one, seed by seed, at the "
        "end. Time here: training of all seeds together; time printed: one run.",
        *notes,
    ]
    warning = too_few(len(table.seeds))
    parts = [f"**{warning}**"] if warning else []
    parts += [markdown(rows, left=len(HEADING)), "\n".join(f"- {line}" for line in legend)]
    return "\n\n".join(parts) + "\n"


def as_csv(table: Table) -> str:
    """One line an entry, in full precision; of skipped rows the reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = [f"{which}_{what}" for which in ("last", "best", "first_minus_this") for what in ("mean", "low", "high")]
    writer.writerow(
        ["row", "system", "status", "reason", "task", "model", "parameters", "published", *numbers, "seconds"]
    )
    for row in table.rows:
        start = [row.name, row.system, row.status, row.reason]
        for entry in row.entries:
            writer.writerow([*start, *_described(entry)])
        if not row.entries:
            writer.writerow([*start, row.words, *[""] * (len(numbers) + 4)])
    return text.getvalue()


def spread(values: Summary | None, signed: bool = False) -> str:
    """Mean and interval in a cell."""
    if values is None:
        return ""
    sign = "+" if signed else ""
    if values.interval95 is None:
        return f"{values.mean:{sign}.3f}"
    low, high = values.interval95
    return f"{values.mean:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _described(entry: Line) -> list[object]:
    spreads = [number for each in (entry.last, entry.best, entry.first_minus_this) for number in _numbers(each)]
    return [entry.task, entry.model, entry.parameters, entry.published, *spreads, entry.seconds]


def _numbers(values: Summary | None) -> list[float | str]:
    return ["", "", ""] if values is None else [values.mean, *(values.interval95 or ("", ""))]
