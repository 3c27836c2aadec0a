"""Time from the start of a process to a trained head on the disk: the packaged features, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from features.util.errors import InputError
from pipeline.bench.race import ROOT
from pipeline.training.run import RECORD, SPREAD

FEATURES = ROOT / "features" / "data" / "hymenoptera.h5"


def time_training(epochs: int, repeats: int) -> list[dict[str, Any]]:
    """Train again and again, one head and 100 together, in turns.

    Returns:
        For ``train`` and ``train --seeds 100``: ``name``, ``command``, and in each repetition ``wall_seconds`` of the
        process and ``training_seconds`` that it reports of itself.
    """
    one = ["train", "--epochs", str(epochs)]
    commands = {"train": one, "train --seeds 100": [*one, "--seeds", "100"]}
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
        # Of heads trained together each one's own record has its share of the time; all of it is beside them.
        record = out / SPREAD if (out / SPREAD).exists() else out / RECORD
        return wall, json.loads(record.read_text(encoding="utf-8"))["seconds"]
