"""The tables of a benchmark: Markdown whose columns line up, so that a terminal shows them as well as a README.

In: the record of a benchmark, as ``bench.json`` holds it. Out: text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.bench.entrants import LABELS, OTHER_WORK, OURS
from pipeline.bench.ratios import Figure, paired_ratio, seconds, summary

KINDS = {"circuit": "Circuit, forward and backward", "step": "Whole training step"}


def render(record: Mapping[str, Any]) -> str:
    """Everything that a record tells, as one Markdown document."""
    machine, config = record["machine"], record["config"]
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}; {config['threads']} thread(s) a rival. {_versions(record)}.",
        f"Depth {config['depth']}. Medians of up to {config['repeats']} rounds, in which the rivals took turns. "
        "Only rivals whose results are, to float32 rounding, those of an ordinary QNode in float64 are timed; "
        "the floor has no circuit to check.",
    ]
    if not record["complete"]:
        parts.append("**Stopped early: not all of it is here.**")
    for kind, title in KINDS.items():
        cells = [cell for cell in record["cells"] if cell["kind"] == kind]
        names = [name for name in LABELS if any(name in cell["rivals"] for cell in cells)]
        if names:
            parts += [f"### {title}, milliseconds", _cells(cells, names, _milliseconds)]
            others = [name for name in names if name not in OTHER_WORK and name != OURS[0]]
            if OURS[0] in names and others:
                text = _cells(cells, others, _times_ours)
                parts += [f"### {title}: how many times the time of {LABELS[OURS[0]]}", text]
            parts += [f"### {title}: peak memory, MiB", _cells(cells, names, _mebibytes)]
            if record["peers"]:
                parts += [f"### {title}: first call, with compilation, seconds", _cells(cells, names, _first_call)]
    if record["training"]:
        parts += ["### From process start to a trained head, seconds", _training(record["training"])]
    parts += ["### Targets", _targets(record["targets"])]
    notes = _notes(record)
    if notes:
        parts += ["### Not measured", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, its first row the heading, its first column to the left and the others to the right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if k else text.ljust(width)
            for k, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [f"{'-' * (width - 1)}:" if k else "-" * width for k, width in enumerate(widths)]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def number(value: float) -> str:
    """Three significant digits, without powers of ten."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3f}"


def milliseconds(figure: Figure) -> str:
    """Seconds as milliseconds, with their quartiles."""
    low, middle, high = (number(1000 * value) for value in (figure.lower, figure.median, figure.upper))
    return f"{middle} ({low}–{high})"


def reached_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Targets, their bounds, what was reached and whether it is enough, as the backbone's benchmarks word them."""
    table = [["target", "bound", "reached (quartiles)", ""]]
    table += [[row["what"], row["bound"], row["reached"], "met" if row["met"] else "**missed**"] for row in rows]
    return markdown(table)


def _cells(cells: Sequence[Mapping[str, Any]], names: Sequence[str], show: Callable[..., str]) -> str:
    rows = [["rival", *(f"{cell['qubits']} q, {cell['batch']}" for cell in cells)]]
    rows += [[LABELS[name], *(show(cell, name) for cell in cells)] for name in names]
    return markdown(rows)


def _milliseconds(cell: Mapping[str, Any], name: str) -> str:
    figure = summary(seconds(cell, name))
    return number(1000 * figure.median) if figure else _absence(cell, name)


def _times_ours(cell: Mapping[str, Any], name: str) -> str:
    figure = paired_ratio(seconds(cell, name), seconds(cell, OURS[0]))
    return number(figure.median) if figure else _absence(cell, name)


def _mebibytes(cell: Mapping[str, Any], name: str) -> str:
    held = cell["rivals"].get(name, {}).get("bytes")
    return number(held / 2**20) if held is not None else _absence(cell, name)


def _first_call(cell: Mapping[str, Any], name: str) -> str:
    taken = cell["rivals"].get(name, {}).get("first_seconds")
    return number(taken) if taken is not None else _absence(cell, name)


def _absence(cell: Mapping[str, Any], name: str) -> str:
    outcome = cell["rivals"].get(name)
    return "" if outcome is None else "–" if outcome["status"] == "timed" else outcome["status"]


def _training(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [["command", "process", "training alone", "runs"]]
    for run in runs:
        wall, training = summary(run["wall_seconds"]), summary(run["training_seconds"])
        rows.append(
            [f"`{run['command']}`", _with_quartiles(wall), _with_quartiles(training), str(len(run["wall_seconds"]))]
        )
    return markdown(rows)


def _targets(rows: Sequence[Mapping[str, Any]]) -> str:
    table = [["what", "target", "figure", "quartiles", ""]]
    for row in rows:
        bound = f"{'≤' if row['at_most'] else '≥'} {row['target']:g}"
        if row["figure"] is None:
            table.append([row["what"], bound, "–", "", "not measured"])
        else:
            spread = "" if row["lower"] == row["upper"] else f"{number(row['lower'])} to {number(row['upper'])}"
            table.append([row["what"], bound, number(row["figure"]), spread, "met" if row["met"] else "missed"])
    return markdown(table)


def _notes(record: Mapping[str, Any]) -> list[str]:
    notes = [
        f"{cell['kind']}, {cell['qubits']} qubits, batch {cell['batch']}, {LABELS[name]}: {outcome['status']}, "
        + outcome["note"]
        for cell in record["cells"]
        for name, outcome in cell["rivals"].items()
        if outcome["status"] != "timed"
    ]
    return notes + [f"{name}: {why}" for name, why in record["left_out"].items()]


def _versions(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def _with_quartiles(figure: Figure | None) -> str:
    return "–" if figure is None else f"{number(figure.median)} ({number(figure.lower)} to {number(figure.upper)})"
