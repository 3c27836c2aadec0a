"""A run is a record: a kill at any moment leaves the old run or the new one, and nothing of the user's is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import names_in
from kills import survives

from features.util.errors import InputError
from pipeline.training import loop
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.names import HISTORY, RECORD
from pipeline.training.run import load_run


@pytest.fixture
def config(feature_file: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(features=feature_file, out=tmp_path / "out/run", qubits=2, depth=1, epochs=2, batch=8)


def retrained_with_kills(config: TrainConfig, step: int) -> int:
    """Replace a head of 2 qubits by one of 3, killed at every ``step``-th change, and check what each kill leaves."""
    wanted = replace(config, qubits=3, force=True)
    moment = 1
    while True:
        run = train(replace(config, force=True))
        (run.path / "report.html").write_text("of the old head")
        (run.path / "mine.png").write_text("the user's")
        ended = survives(lambda: train(wanted), config.out.parent, moment)
        left = load_run(config.out)
        of_old = left.config.qubits == 2
        assert left.head().q_params.numel() == left.config.qubits
        assert (config.out / "mine.png").read_text() == "the user's"
        assert (config.out / "report.html").exists() == of_old
        assert not ended or not of_old
        train(wanted)
        assert load_run(config.out).config.qubits == 3
        assert (config.out / "mine.png").read_text() == "the user's"
        assert names_in(config.out.parent) == ["run"]
        if ended:
            return moment
        moment += step


def test_a_kill_leaves_the_old_run_or_the_new_one(config: TrainConfig) -> None:
    assert retrained_with_kills(config, step=6) > 15


@pytest.mark.slow
def test_a_kill_at_every_step_leaves_the_old_run_or_the_new_one(config: TrainConfig) -> None:
    assert retrained_with_kills(config, step=1) > 15


@pytest.mark.slow
def test_a_kill_at_every_step_of_many_heads_leaves_the_old_run_or_the_new_ones(config: TrainConfig) -> None:
    for moment in range(1, 100):
        train(replace(config, force=True))
        ended = survives(lambda: train_many(replace(config, seeds=2, force=True)), config.out.parent, moment)
        left = load_run(config.out)
        assert (
            (left.config.seeds == 2)
            == (config.out / "seed-43/run.json").exists()
            == (config.out / "heads.json").exists()
        )
        if ended:
            return
    raise AssertionError("it never came to its end")


def test_files_of_the_users_stay(config: TrainConfig) -> None:
    names = ["holiday.png", "model-mine.onnx", "notes/a.txt"]
    train(config)
    for name in names:
        (config.out / name).parent.mkdir(exist_ok=True)
        (config.out / name).write_text(name)
    train(replace(config, qubits=3, force=True))
    assert [(config.out / name).read_text() for name in names] == names


def test_a_folder_that_holds_no_run_is_refused_and_left_alone(config: TrainConfig) -> None:
    config.out.mkdir(parents=True)
    for name in ("model.pth", "learning_curves.png"):
        (config.out / name).write_text(name)
    for force in (False, True):
        with pytest.raises(InputError, match=r"holds files and no run; name a new or an empty folder"):
            train(replace(config, force=force))
    assert names_in(config.out.parent) == ["run"]
    assert names_in(config.out) == ["learning_curves.png", "model.pth"]


def test_the_history_of_another_head_is_refused(config: TrainConfig) -> None:
    other = train(replace(config, out=config.out.with_name("other"), seed=7))
    run = train(config)
    (run.path / HISTORY).write_bytes((other.path / HISTORY).read_bytes())
    with pytest.raises(InputError, match=r"history\.jsonl belongs to another run than"):
        load_run(run.path)


def test_the_record_says_what_simulated_the_circuit(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made = loop.untrained

    def fallen_back(config: TrainConfig, *shape: int) -> loop.Head:
        return made(replace(config, simulator="qnode", q_device="lightning.qubit"), *shape)

    monkeypatch.setattr(loop, "untrained", fallen_back)
    train(config)
    record = json.loads((config.out / RECORD).read_text())
    assert record["config"]["simulator"] == "lightning"
    assert record["ran"] == {"simulator": "qnode", "device": "lightning.qubit"}
