"""Time from the start of a process to a trained head on the disk: the packaged features, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from features.util.errors import InputError
from pipeline.bench.race.rival import ROOT
from pipeline.training.names import RECORD, SPREAD

FEATURES = ROOT / "features" / "data" / "hymenoptera.h5"


@dataclass(frozen=True, kw_only=True)
class TrainingTimes:
    """A training command, run again and again.

    Attributes:
        name: ``train``, or ``train --seeds 100``.
        command: As it is typed.
        wall_seconds: Of the process, in each repetition.
        training_seconds: What it says of itself: training alone.
    """

    name: str
    command: str
    wall_seconds: list[float] = field(default_factory=list)
    training_seconds: list[float] = field(default_factory=list)


def time_training(epochs: int, repeats: int) -> list[TrainingTimes]:
    """Train one head, and 100 together, in turns."""
    one = ["train", "--epochs", str(epochs)]
    commands = {"train": one, "train --seeds 100": [*one, "--seeds", "100"]}
    runs = [TrainingTimes(name=name, command=f"python -m pipeline {' '.join(ws)}") for name, ws in commands.items()]
    for _ in range(repeats):
        for run, words in zip(runs, commands.values(), strict=True):
            wall, training = _train(words)
            run.wall_seconds.append(wall)
            run.training_seconds.append(training)
    return runs


def _train(words: list[str]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "pipeline", *words, "--features", str(FEATURES), "--out", str(out)]
        started = time.perf_counter()
        finished = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
        wall = time.perf_counter() - started
        if finished.returncode != 0:
            raise InputError(f"`python -m pipeline {' '.join(words)}` failed:\n{finished.stderr.strip()}")
        # Of heads trained together each one's own record has its share of the time; all of it is beside them.
        record = out / SPREAD if (out / SPREAD).exists() else out / RECORD
        return wall, json.loads(record.read_text(encoding="utf-8"))["seconds"]
