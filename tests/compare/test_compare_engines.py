"""Where the blocks of a comparison run: processes, a Ray cluster, and what is left when they are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from comparisons import small_comparison
from conftest import wait_for

from pipeline.experiments.compare.comparison import compare


@pytest.fixture
def config(tmp_path):
    return small_comparison(tmp_path)


def command(config, *more, python=sys.executable):
    flags = {"features": config.features, "out": config.out, "seeds": 2, "folds": 3, "epochs": 3, "batch": 5}
    flags |= {"lr": 0.003, "lr-step": 2, "seed": 7, "workers": 2}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [python, "-m", "pipeline", "compare", *words, "--heads", *config.heads, *more]


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_two_workers_give_the_same_bits_as_this_process(config, warm_python, tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    compare(config)
    there = replace(config, out=tmp_path / engine)
    finished = subprocess.run(
        command(there, "--engine", engine, python=warm_python), capture_output=True, text=True, check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    for file in (config.out / "blocks").rglob("*.json"):
        mine, theirs = (json.loads((out / file.relative_to(config.out)).read_text()) for out in (config.out, there.out))
        assert mine["trainings"] == theirs["trainings"]


def test_a_cluster_that_is_not_there_is_a_clear_error(config, warm_python):
    pytest.importorskip("ray")
    words = command(config, "--engine", "ray", "--address", "127.0.0.1:1", "--workers", "0", python=warm_python)
    finished = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 2, finished.stderr
    assert "there is no Ray cluster at --address 127.0.0.1:1" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_how_to_go_on(config):
    process = subprocess.Popen(
        command(config, "--epochs", "100000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The logistic head has no epochs: its block is done first, then the others would go on for hours.
    wait_for(lambda: process.poll() is not None or list(config.out.rglob("logistic-*.json")), seconds=120)
    time.sleep(1)  # the file is there a moment before the block is counted
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 of 3 blocks are kept, the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert {file.name for file in config.out.iterdir()} == {"blocks"}


@pytest.mark.slow
def test_a_killed_comparison_leaves_no_process_behind(config):
    process = subprocess.Popen(
        command(config, "--epochs", "100000"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: list(config.out.rglob("logistic-*.json")), seconds=120)
    process.kill()
    process.wait()
    try:
        wait_for(lambda: not is_group_alive(process.pid))
    finally:
        if is_group_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def is_group_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
