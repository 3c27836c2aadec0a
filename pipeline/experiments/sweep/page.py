"""What a sweep found: as a document, in words, and as a command.

In: the record of a sweep. Out: text and a ``Document``.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from pipeline.experiments.sweep.config import SweepConfig
from pipeline.experiments.sweep.figure import WORDS, draw
from pipeline.experiments.sweep.study import SEARCHED
from pipeline.pages.document import Command, Document, Figure, Points, Section, Table
from pipeline.training.config import TrainConfig


def document_of(config: SweepConfig, record: dict[str, Any]) -> Document:
    """The page; to be made inside ``drawing.style()``."""
    captions = {
        "trials": "Each point is a setting. Trials that were cut short are left out.",
        "importance": "By fANOVA over all trials (Hutter et al., 2014); with few trials it says little.",
    }
    setting = record["best"]["setting"]
    rows = [["", *(WORDS[name] for name in setting)]]
    paper = TrainConfig()
    rows += [["best", *_numbers(setting).values()]]
    rows += [["the paper's", *_numbers({name: getattr(paper, name) for name in setting}).values()]]
    drawings = [Figure(name, drawing, captions[name]) for name, drawing in draw(record).items()]
    lead, *lines = _findings(config, record)
    sections = [
        Section("What it found", [Points(lines), Table("Settings", rows)]),
        Section("Trials", drawings),
        Section("Train with it", [Command(record["command"])]),
    ]
    return Document("Better hyperparameters?", f"{lead[:1].upper()}{lead[1:]}.", sections)


def command(config: SweepConfig, setting: dict[str, Any]) -> str:
    """The command that trains a head with a setting, on the same features, in a folder of its own."""
    python = Path(sys.executable)
    shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    features, out = config.features, config.out / "run"
    return (
        f"{shlex.join([str(shown), '-m', 'pipeline', 'train', '--features', str(features), '--out', str(out)])} "
        f"{flags(setting)} --epochs {config.epochs}"
        + (f" --circuit {shlex.quote(config.circuit)}" if config.circuit != "mari" else "")
    )


def flags(setting: dict[str, Any]) -> str:
    """A setting as flags of ``train``."""
    shown = _numbers(setting)
    return " ".join(f"--{name.replace('_', '-')} {shlex.quote(shown[name])}" for name in SEARCHED)


def _numbers(setting: dict[str, Any]) -> dict[str, str]:
    """A setting, its numbers rounded to what matters."""
    return {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in setting.items()}


def _findings(config: SweepConfig, record: dict[str, Any]) -> list[str]:
    inner, validation, paper = record["best"]["inner_accuracy"], record["validation"], record["paper_inner_accuracy"]
    cut = sum(trial["state"] == "pruned" for trial in record["trials"])
    return [
        f"on the validation samples, looked at only now: {validation['mean']:.4f} at the last epoch, mean of "
        f"{len(validation['accuracies'])} initial weights, from {validation['min']:.4f} to {validation['max']:.4f}",
        f"{len(record['trials'])} trials of {config.trials}, {cut} of them cut short, {record['seconds']:.0f} s",
        f"best setting: {inner:.4f} in cross-validation within the training samples"
        + ("" if paper is None else f" (the paper's setting: {paper:.4f})")
        + "; chosen by this number, so flattered",
    ]


def words(config: SweepConfig, record: dict[str, Any], page: Path) -> str:
    """What to print at the end."""
    validation, *lines = _findings(config, record)
    end = f"{page}: trials and pictures; all numbers in sweep.json; train with the best setting:"
    return "\n".join([*lines, validation, end, f"  {record['command']}"])
