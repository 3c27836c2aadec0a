"""The table: Markdown, CSV, and lines for the terminal.

In: the record of all rows, as ``paper.json`` holds it. Out: text.
"""

from __future__ import annotations

import csv
import io
from typing import Any

HEAD = ("system", "task", "model", "at the end", "best epoch", "published", "first − this", "time here", "time printed")


def markdown(record: dict[str, Any]) -> str:
    """The table, and beneath it what a reader must know; columns line up, so that a terminal shows it as well."""
    lines: list[tuple[str, ...]] = [HEAD]
    notes: dict[str, None] = {}
    for row in record["rows"]:
        if row["status"] == "skipped":
            published = f"{row['published']:.4f}"
            lines.append((row["system"], row["words"], "skipped", "", "", published, "", "", row["published_time"]))
            notes[f"{row['name']} skipped: {' '.join(row['reason'].split())}"] = None
            continue
        for index, entry in enumerate(row["entries"]):
            lines.append(
                (
                    row["system"] if index == 0 else "",
                    entry["task"] if index == 0 or entry["task"] != row["entries"][index - 1]["task"] else "",
                    entry["model"],
                    spread(entry["last"]),
                    spread(entry["best"]),
                    "" if entry["published"] is None else f"{entry['published']:.4f}",
                    spread(entry["first_minus_this"], signed=True),
                    f"{entry['seconds']:.1f} s",
                    row["published_time"] if index == 0 else "",
                )
            )
        notes |= dict.fromkeys(row["notes"])
    legend = [
        f"Accuracy on held-out samples at the end of training: mean over {len(record['seeds'])} seeds, and the 95 % "
        "confidence interval of the mean (Student's t). Best epoch: chosen by the very samples it is scored on, as the "
        "paper does for images, so flattered. First − this: the task's first model less this one, seed by seed, at the "
        "end. Time here: training of all seeds together; time printed: one run.",
        *notes,
    ]
    return _grid(lines) + "\n\n" + "\n".join(f"- {line}" for line in legend) + "\n"


def as_csv(record: dict[str, Any]) -> str:
    """One line an entry, in full precision; of skipped rows the reason."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    numbers = [f"{which}_{what}" for which in ("last", "best", "first_minus_this") for what in ("mean", "low", "high")]
    table.writerow(
        ["row", "system", "status", "reason", "task", "model", "parameters", "published", *numbers, "seconds"]
    )
    for row in record["rows"]:
        start = [row["name"], row["system"], row["status"], row.get("reason", "")]
        for entry in row.get("entries", []):
            values = [number for which in ("last", "best", "first_minus_this") for number in _numbers(entry[which])]
            described = [entry["task"], entry["model"], entry["parameters"], entry["published"]]
            table.writerow([*start, *described, *values, entry["seconds"]])
        if not row.get("entries"):
            table.writerow([*start, row["words"], *[""] * (len(numbers) + 4)])
    return text.getvalue()


def spread(values: dict[str, Any] | None, signed: bool = False) -> str:
    """Mean and interval in a cell."""
    if values is None:
        return ""
    sign = "+" if signed else ""
    if values["interval95"] is None:
        return f"{values['mean']:{sign}.3f}"
    low, high = values["interval95"]
    return f"{values['mean']:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _numbers(values: dict[str, Any] | None) -> list[float | str]:
    if values is None:
        return ["", "", ""]
    return [values["mean"], *(values["interval95"] or ("", ""))]


def _grid(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in text)
