"""The table as a document and as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pipeline.experiments.paper.record import Line, Summary, Table
from pipeline.experiments.statistics import too_few
from pipeline.pages.document import Document, Figure, Part, Points, Section, Warned
from pipeline.pages.document import Table as PageTable
from pipeline.util.drawing import kept_drawing
from pipeline.util.markdown import counted

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


def document_of(table: Table, folder: Path) -> Document:
    """The table, its pictures as they lie in the folder, and what a reader must know."""
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
        "confidence interval of the mean (Student's t).",
        "Best epoch: chosen by the very samples it is scored on, as the paper does for images, so flattered.",
        "First − this: the task's first model less this one, seed by seed, at the end.",
        "Time here: training of all seeds together; time printed: one run.",
        *notes,
    ]
    warning = too_few(len(table.seeds))
    shown: list[Part] = [Warned(warning)] if warning else []
    shown.append(PageTable("Systems of the paper", rows, left=len(HEADING)))
    figures = [
        Figure(stem, drawing, f"{row.words[:1].upper()}{row.words[1:]}.")
        for row in table.rows
        for name, words in row.pictures.items()
        if (drawing := kept_drawing(folder, stem := name.removesuffix(".png"), words)) is not None
    ]
    sections = [Section("Every system, here and as published", shown)]
    sections += [Section("Pictures", figures)] if figures else []
    sections.append(Section("How to read this", [Points(legend)]))
    return Document(
        "The paper's systems beside their published numbers",
        _lead(table),
        sections,
        made=f"Made {table.created[:16].replace('T', ' ')} UTC, {len(table.seeds)} seeds.",
    )


def _lead(table: Table) -> str:
    """The first model of every row that was run, beside its published number."""
    done = [row for row in table.rows if row.status == "done" and row.entries]
    said = [f"{row.entries[0].last.mean:.3f} for {row.published:.3f} ({row.name})" for row in done]
    if not said:
        return "Nothing could be run here; the reasons are below."
    skipped = len(table.rows) - len(done)
    more = f"; {counted(skipped, 'row')} skipped" if skipped else ""
    return f"Accuracy at the end, mean over seeds, for the published number: {', '.join(said)}{more}."


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
