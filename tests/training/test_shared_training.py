"""pipeline.training.streaming.cluster: many processes take the steps of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, names_in, synthetic_provenance, wait_for
from kills import ray_processes

from features.cache.writer import FeatureWriter
from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.training import samples
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.names import CHECKPOINT, HISTORY
from pipeline.training.run import load_run
from pipeline.training.streaming.order import Order

SHARED = Order(block_rows=5, window_blocks=4, parts=2)
"""24 rows in 5 blocks: one part has a block more, so in the last steps of an epoch the other has no rows."""


@pytest.fixture
def config(feature_file, tmp_path, monkeypatch):
    """A training on 24 rows in 5 blocks, dealt into two parts however many processes there are."""
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setattr(samples.Order, "of", lambda *_: SHARED)
    # At the paper's learning rate: Adam turns the last bit of a gradient near zero into a share of the rate.
    return TrainConfig(features=feature_file, out=tmp_path / "run", epochs=8, batch=10, memory_limit=1e-6)


def assert_alike(left, right):
    for which in ("last", "best"):
        for name, weights in left.weights[which].items():
            torch.testing.assert_close(right.weights[which][name], weights, rtol=0, atol=1e-6)
    for there, here in zip(left.history, right.history, strict=True):
        assert vars(replace(here, seconds=0)) == pytest.approx(vars(replace(there, seconds=0)), abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"workers": 2}, "--workers is given, but --engine is local; add --engine ray"),
        ({"address": "here:1"}, "--address is given, but --engine is local; add --engine ray"),
        ({"engine": "ray", "workers": 3, "batch": 8}, "--batch is 8 and --workers is 3; the batch must be a multiple"),
        ({"engine": "ray", "seeds": 2}, "--engine is ray; it trains one head, step by step, on plain rows"),
    ],
)
def test_flags_that_do_not_go_together(flags, said):
    with pytest.raises(FlagError, match=said):
        TrainConfig(**flags)


pytest_ray = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # Ray leaves its log files to the garbage collector
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.mark.slow
@pytest_ray
def test_two_workers_end_as_one_with_the_same_steps(config, tmp_path, capsys):
    """On classes of unequal size, weighted, and at a rate that falls within an epoch."""
    pytest.importorskip("ray.train", reason="needs Ray: pip install 'ray[data,train]'")
    labels = {"train": (0, 0, 0, 1) * 6, "val": (0, 1) * 6}
    paths = {split: tuple(f"{split}/{row}.png" for row in range(len(of_split))) for split, of_split in labels.items()}
    values = np.random.default_rng(0).normal(size=(24, 512)).astype(np.float32)
    with FeatureWriter(tmp_path / "synthetic.h5", paths, labels, 512) as writer:
        writer.write("train", 0, values)
        writer.write("val", 0, values[:12])
        writer.finish(synthetic_provenance())
    config = replace(config, features=tmp_path / "synthetic.h5", class_weights="balanced", decay_steps=13)
    one = train(replace(config, out=tmp_path / "one"))
    capsys.readouterr()
    two = train(replace(config, engine="ray", workers=2))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("--workers is 2, which share the rows of")
    assert [line.split()[1] for line in said if line.startswith("epoch")] == [f"{epoch}/8" for epoch in range(1, 9)]
    assert_alike(one, two)
    assert two.order == SHARED
    assert names_in(tmp_path) == ["one", "run", "synthetic.h5"]
    # One process goes on where two stopped.
    longer = train(replace(config, epochs=10, resume=True))
    assert_alike(train(replace(config, epochs=10, out=tmp_path / "straight")), longer)


@pytest.mark.slow
@pytest_ray
def test_what_a_worker_finds_wrong_comes_back(config):
    pytest.importorskip("ray.train", reason="needs Ray: pip install 'ray[data,train]'")
    with pytest.raises(InputError, match=r"training stopped after 0 epochs: .*lower the learning rate"):
        train(replace(config, engine="ray", workers=2, lr=1e38))
    with pytest.raises(InputError, match=r"begun in 2 parts, and --workers is 5; that many must divide the parts"):
        train(replace(config, engine="ray", workers=5))


def workers(mark: str) -> list[int]:
    return ray_processes("TrainWorker", mark)


def start(flags: list[str], mark: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "train", "--engine", "ray", "--workers", "2", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict([mark.split("=", 1)]),
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill in Linux's /proc")
def test_a_killed_worker_and_ctrl_c_lose_nothing_but_an_epoch(feature_file, tmp_path, monkeypatch):
    pytest.importorskip("ray.train", reason="needs Ray: pip install 'ray[data,train]'")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    out, mark = tmp_path / "run", f"TRAINING_UNDER_TEST={tmp_path}"
    history = tmp_path / ".run.unfinished" / HISTORY
    flags = ["--features", str(feature_file), "--out", str(out), "--epochs", "400", "--batch", "8"]

    def epochs() -> int:
        return len(history.read_text().splitlines()) if history.exists() else 0

    running = start(flags, mark)
    wait_for(lambda: epochs() >= 3 or running.poll() is not None, seconds=240)
    os.kill(workers(mark)[0], signal.SIGKILL)
    stood = epochs()
    wait_for(lambda: epochs() >= stood + 30 or running.poll() is not None, seconds=240)
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=240)
    assert running.returncode == 130, output + errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not out.exists()
    wait_for(lambda: not workers(mark), seconds=60)
    # A worker may have been ended while it wrote.
    assert {CHECKPOINT, HISTORY} <= set(names_in(history.parent)) <= {CHECKPOINT, HISTORY, f".{CHECKPOINT}.part"}
    output, errors = start([*flags, "--resume"], mark).communicate(timeout=400)
    run = load_run(out)
    assert [epoch.epoch for epoch in run.history] == list(range(1, 401))
    assert run.history[-1].val_accuracy == 1.0
