"""The tables of a race, as Markdown.

In: :class:`pipeline.bench.results.Results`. Out: text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.bench.quartiles import Quartiles, number, quartiles
from pipeline.bench.race.entrants import LABELS, OTHER_WORK, OURS
from pipeline.bench.race.outcome import Cell
from pipeline.bench.results import Results
from pipeline.bench.stages.wholerun import TrainingTimes
from pipeline.bench.targets import targets_table
from pipeline.util.markdown import markdown

KINDS = {
    "circuit": "Circuit, forward and backward",
    "step": "Whole training step",
    "rot": "Rot layers and a chain of CNOTs, forward and backward",
    "reuploading": "Data re-uploading, forward and backward",
    "strongly_entangling": "StronglyEntanglingLayers, 3 layers, forward, backward and Adam",
}


def render(results: Results) -> str:
    """All tables, as one Markdown document."""
    machine, config = results.machine, results.config
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    parts = [
        f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}; "
        f"{config.threads} thread(s) a rival. {versions}.",
        f"Depth {config.depth} of the paper's circuit. Medians of up to {results.repeats} rounds, in which rivals took "
        "turns. Only rivals whose results are, to float32 rounding, those of an ordinary QNode in float64 are timed; "
        "the floor has no circuit to check.",
    ]
    if not results.complete:
        parts.append("**Stopped early: not all of it is here.**")
    for kind, title in KINDS.items():
        cells = [cell for cell in results.cells if cell.work.kind == kind]
        names = [name for name in LABELS if any(name in cell.outcomes for cell in cells)]
        if names:
            parts += [f"### {title}, milliseconds", _cells(cells, names, _milliseconds)]
            others = [name for name in names if name not in OTHER_WORK and name != OURS[0]]
            if OURS[0] in names and others:
                text = _cells(cells, others, _times_ours)
                parts += [f"### {title}: how many times the time of {LABELS[OURS[0]]}", text]
            parts += [f"### {title}: peak memory, MiB", _cells(cells, names, _mebibytes)]
            if config.peers:
                parts += [f"### {title}: first call, with compilation, seconds", _cells(cells, names, _first_call)]
    if results.training:
        parts += ["### From process start to a trained head, seconds", _training(results.training)]
    if results.targets:
        parts += ["### Targets", targets_table(results.targets)]
    notes = _notes(results)
    if notes:
        parts += ["### Not measured", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _cells(cells: Sequence[Cell], names: Sequence[str], show: Callable[[Cell, str], str]) -> str:
    rows = [["rival", *(f"{cell.work.qubits} q, {cell.work.batch}" for cell in cells)]]
    rows += [[LABELS[name], *(show(cell, name) for cell in cells)] for name in names]
    return markdown(rows)


def _milliseconds(cell: Cell, name: str) -> str:
    time = cell.time(name)
    return number(1000 * time.median) if time else _absence(cell, name)


def _times_ours(cell: Cell, name: str) -> str:
    ratio = cell.ratio(name, OURS[0])
    return number(ratio.median) if ratio else _absence(cell, name)


def _mebibytes(cell: Cell, name: str) -> str:
    outcome = cell.outcomes.get(name)
    return _absence(cell, name) if outcome is None or outcome.bytes is None else number(outcome.bytes / 2**20)


def _first_call(cell: Cell, name: str) -> str:
    outcome = cell.outcomes.get(name)
    if outcome is None or outcome.first_seconds is None:
        return _absence(cell, name)
    return number(outcome.first_seconds)


def _absence(cell: Cell, name: str) -> str:
    outcome = cell.outcomes.get(name)
    return "" if outcome is None else "–" if outcome.status == "timed" else outcome.status


def _training(runs: Sequence[TrainingTimes]) -> str:
    rows = [["command", "process", "training alone", "runs"]]
    for run in runs:
        wall, training = (_spread(quartiles(seconds)) for seconds in (run.wall_seconds, run.training_seconds))
        rows.append([f"`{run.command}`", wall, training, str(len(run.wall_seconds))])
    return markdown(rows)


def _notes(results: Results) -> list[str]:
    notes = [
        f"{cell.work.kind}, {cell.work.qubits} qubits, batch {cell.work.batch}, {LABELS[name]}: {outcome.status}, "
        + outcome.note
        for cell in results.cells
        for name, outcome in cell.outcomes.items()
        if outcome.status != "timed"
    ]
    return notes + [f"{name}: {why}" for name, why in results.left_out.items()]


def _spread(figure: Quartiles | None) -> str:
    return "–" if figure is None else f"{number(figure.median)} ({number(figure.lower)} to {number(figure.upper)})"
