"""Whatever commands follow each other in one OUT: what the records say is what the files are, and the user's stay."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from conftest import write_feature_file
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import survives

from features.util.errors import InputError
from features.util.provenance import tensors_sha256
from pipeline.stages import Stages
from pipeline.training.run import load_run

SMALL = "--epochs 2 --batch 8 --depth 1"
COMMANDS = (
    ("train", {"ARGS": f"{SMALL} --qubits 2"}),
    ("train", {"ARGS": f"{SMALL} --qubits 3 --force"}),
    ("train", {"ARGS": f"{SMALL} --qubits 2 --seeds 2 --force"}),
    ("train", {"ARGS": "--epochs 3 --resume"}),
    ("train", {}),
    ("eval", {"TRAIN_ARGS": f"{SMALL} --qubits 2"}),
    ("eval", {"ARGS": "--shots 5"}),
    ("predict", {"IMAGES": "nothing.png"}),
    ("export", {"TRAIN_ARGS": f"{SMALL} --head linear"}),
    ("features", {"DATA": "cifar10"}),
    ("other data", {}),
)
STEPS = st.tuples(st.sampled_from(COMMANDS), st.sampled_from((0, 0, 1, 2, 3, 5, 8, 13, 21)))


def obey(steps: list[tuple[tuple[str, dict[str, str]], int]]) -> None:
    """Give commands, some of them killed before their N-th change, and check the folder after each."""
    assert plt.get_backend()  # imported before the forks
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "two words"
        out.mkdir()
        write_feature_file(out / "features.h5")
        (out / "mine.txt").write_text("the user's")
        run, stood = out / "run", False
        for index, ((goal, variables), kill_at) in enumerate(steps):
            if goal == "other data":
                (out / "features.h5").unlink()
                write_feature_file(out / "features.h5", seed=index + 1)
            else:
                command = Stages([goal], {"OUT": str(out), **variables})
                survives(lambda command=command: _quietly(command), out, kill_at)
            stood = check(out, must_stand=stood)
            if stood and not (run / "mine.png").exists() and not list(out.glob("run*/mine.png")):
                (run / "mine.png").write_text("the user's")


def check(out: Path, must_stand: bool) -> bool:
    """Whether a run stands in OUT; all runs there must be whole, and the user's files as they were."""
    assert (out / "mine.txt").read_text() == "the user's"
    try:
        found = load_run(out / "run")
    except InputError:
        if must_stand:
            raise
        return False
    assert all(file.read_text() == "the user's" for file in out.rglob("mine.*"))
    for run in (found, *map(load_run, out.glob("run-*"))):
        assert run.head().n_trainable == run.parameters
        seeds = range(run.config.seed + 1, run.config.seed + run.config.seeds)
        assert [load_run(run.path / f"seed-{seed}").config.seed for seed in seeds] == list(seeds)
        if (run.path / "report.html").exists():
            report = json.loads((run.path / "report.json").read_text())
            assert report["head_sha256"] == {which: tensors_sha256(state) for which, state in run.weights.items()}
    return True


def _quietly(command: Stages) -> None:
    with suppress(InputError, SystemExit):
        command.make()


@settings(max_examples=2, deadline=None, derandomize=True)
@given(st.lists(STEPS, min_size=3, max_size=3))
def test_any_commands_in_one_folder_keep_what_was_made(steps: list) -> None:
    obey(steps)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=3, max_size=10))
def test_any_longer_sequence_of_commands_keeps_what_was_made(steps: list) -> None:
    obey(steps)
