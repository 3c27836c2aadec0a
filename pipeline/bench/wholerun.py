"""Time from the start of a process to a trained head on the disk: the packaged features, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from features.errors import InputError
from pipeline.bench.race import ROOT
from pipeline.config import TrainConfig
from pipeline.run import RECORD

FEATURES = ROOT / "features" / "data" / "hymenoptera.h5"


def time_training(epochs: int, repeats: int) -> list[dict[str, Any]]:
    """Train again and again, many heads too where `train` knows how, in turns.

    Returns:
        For ``train`` and ``train --heads 100``: ``name``, ``command``, and in each repetition ``wall_seconds`` of the
        process and ``training_seconds`` that it reports of itself.
    """
    commands = {"train": ["train", "--epochs", str(epochs)]}
    if "heads" in {item.name for item in fields(TrainConfig)}:
        commands["train --heads 100"] = [*commands["train"], "--heads", "100"]
    runs: list[dict[str, Any]] = [
        {"name": name, "command": f"python -m pipeline {' '.join(words)}", "wall_seconds": [], "training_seconds": []}
        for name, words in commands.items()
    ]
    for _ in range(repeats):
        for run, words in zip(runs, commands.values(), strict=True):
            wall, training = _train(words)
            run["wall_seconds"].append(wall)
            run["training_seconds"].append(training)
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
        return wall, json.loads((out / RECORD).read_text(encoding="utf-8"))["seconds"]
