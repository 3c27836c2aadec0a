import json
import signal
import subprocess
from dataclasses import asdict, replace
from unittest.mock import Mock

import pytest
import torch
from conftest import names_in
from kills import ctrl_c_at_step

from features.util.errors import InputError
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import Training
from pipeline.training.loop import train
from pipeline.training.names import CHECKPOINT, HEAD, HISTORY, RECORD
from pipeline.training.record import EpochRecord
from pipeline.training.run import load_run
from pipeline.training.samples import epoch_order
from pipeline.util.tally import score

SMALL = {"epochs": 4, "batch": 8, "lr": 0.01, "lr_step": 2}


@pytest.fixture
def config(feature_file, tmp_path):
    return TrainConfig(features=feature_file, out=tmp_path / "run", **SMALL)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_leaves_exactly_these_files(config):
    run = train(config)
    assert {file.name for file in config.out.iterdir()} == {HEAD, RECORD, HISTORY, CHECKPOINT}
    assert run.parameters == 2086
    assert [row.epoch for row in run.history] == [1, 2, 3, 4]
    assert run.history == [EpochRecord(**json.loads(line)) for line in (config.out / HISTORY).read_text().splitlines()]
    record = json.loads((config.out / RECORD).read_text())
    assert record["config"]["seed"] == 42
    assert record["features"]["content_sha256"] == run.features.content_sha256


def test_it_learns_to_tell_separable_classes_apart(config):
    run = train(replace(config, epochs=8))
    assert run.history[-1].train_loss < run.history[0].train_loss
    assert run.history[-1].val_accuracy == 1.0


def test_the_learning_rate_falls_after_each_step_of_epochs(config):
    assert [row.lr for row in train(config).history] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config, tmp_path):
    first = train(config)
    again = train(replace(config, out=tmp_path / "again"))
    other = train(replace(config, out=tmp_path / "other", seed=7))
    assert same(first.weights["last"], again.weights["last"])
    assert not same(first.weights["last"], other.weights["last"])


def test_training_leaves_the_callers_generator_and_threads_alone(config):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(config)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_the_best_epoch_is_the_first_of_highest_validation_accuracy(config):
    run = train(config)
    accuracies = [row.val_accuracy for row in run.history]
    assert run.epochs == {"last": 4, "best": accuracies.index(max(accuracies)) + 1}


@pytest.mark.parametrize("step", [1, 5, 11])
def test_stopped_anywhere_and_resumed_it_ends_in_the_same_weights_bit_for_bit(config, tmp_path, monkeypatch, step):
    undisturbed = train(replace(config, out=tmp_path / "undisturbed"))
    told = f"saved epochs: {step // 3};" if step >= 3 else "nothing to resume"
    with ctrl_c_at_step(monkeypatch, step), pytest.raises(KeyboardInterrupt, match=told):
        train(config)
    assert not (config.out / HEAD).exists()
    resumed = train(replace(config, resume=True))
    for which in ("last", "best"):
        assert same(resumed.weights[which], undisturbed.weights[which])
    assert [without_time(row) for row in resumed.history] == [without_time(row) for row in undisturbed.history]


def without_time(row):
    return {name: value for name, value in asdict(row).items() if name != "seconds"}


def test_a_finished_run_can_be_continued_for_more_epochs(config, tmp_path):
    train(replace(config, epochs=2))
    longer = train(replace(config, resume=True))
    straight = train(replace(config, out=tmp_path / "straight"))
    assert same(longer.weights["last"], straight.weights["last"])


def test_without_a_checkpoint_resume_starts_from_the_beginning_and_says_so(config, capsys):
    train(replace(config, resume=True))
    assert f"no checkpoint in {config.out}: starting with epoch 1" in capsys.readouterr().out


def test_a_checkpoint_of_another_run_is_refused(config):
    train(config)
    changes = r"another training \(epochs done: 4\): --seed 42 there, 1 asked for; --lr 0\.01 there, 0\.02 asked for"
    with pytest.raises(InputError, match=changes):
        train(replace(config, resume=True, force=True, lr=0.02, seed=1))
    with pytest.raises(InputError, match="epochs done: 4, --epochs is 3"):
        train(replace(config, resume=True, force=True, epochs=3))
    assert load_run(config.out).config.lr == 0.01


def test_a_checkpoint_of_other_features_is_refused(config, make_feature_file, tmp_path):
    train(config)
    other = make_feature_file(tmp_path / "other.h5", seed=9)
    with pytest.raises(InputError, match="other features"):
        train(replace(config, resume=True, features=other))


def test_a_damaged_checkpoint_is_refused(config):
    train(config)
    checkpoint = config.out / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"can't be read .* start again with --force"):
        train(replace(config, resume=True, epochs=5))


def test_a_run_folder_that_is_a_file_is_refused(config, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="is a file; name a folder"):
        train(config)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_new_head_takes_the_old_report_away(config):
    train(config)
    (config.out / "report.json").write_text("{}")
    train(replace(config, force=True))
    assert not (config.out / "report.json").exists()


def test_a_loss_that_is_no_number_stops_the_run_with_advice(config):
    with pytest.raises(InputError, match=r"training stopped after 0 epochs: .*lower the learning rate"):
        train(replace(config, lr=1e38))


def test_ctrl_c_ends_with_130_and_how_to_go_on(feature_file, warm_python, tmp_path):
    command = [
        warm_python,
        "-m",
        "pipeline",
        "train",
        "--features",
        str(feature_file),
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        [*command, "--epochs", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    for line in process.stdout:
        if line.startswith("epoch") and " 2/" in line:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "; the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()
    unfinished = tmp_path / ".run.unfinished"
    assert set(names_in(unfinished)) == {HISTORY, CHECKPOINT}
    done = len((unfinished / HISTORY).read_text().splitlines())
    assert subprocess.run([*command, "--epochs", str(done + 2), "--resume"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "; the same command goes on from there"),
        ({"force": True}, "; with --resume (make: TRAIN_ARGS='… --resume') it goes on from there"),
        ({"force": True, "resume": True}, "; the same command goes on from there"),
    ],
)
def test_the_advice_after_ctrl_c_does_not_start_anew(config, flags, said):
    stopped = Mock(config=replace(config, **flags), saved_epochs=2)
    assert Training.how_to_go_on(stopped) == f"stopped, saved epochs: 2{said}"


def test_the_fast_simulators_train_as_the_ordinary_qnode_does(config, tmp_path):
    histories = {}
    for simulator in ("lightning", "dense", "qnode"):
        whole = replace(config, epochs=30, lr_step=10, simulator=simulator, out=tmp_path / simulator)
        histories[simulator] = train(whole).history
    for simulator in ("lightning", "dense"):
        for ours, reference in zip(histories[simulator], histories["qnode"], strict=True):
            assert without_time(ours) == pytest.approx(without_time(reference), abs=1e-4)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    assert sorted(epoch_order(1, 2, 10).tolist()) == list(range(10))
    assert torch.equal(epoch_order(1, 2, 10), epoch_order(1, 2, 10))
    assert not torch.equal(epoch_order(1, 2, 10), epoch_order(1, 3, 10))
    assert not torch.equal(epoch_order(1, 2, 10), epoch_order(2, 2, 10))


def test_score_is_mean_cross_entropy_and_accuracy():
    loss, accuracy = score(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([1, 0]))
    assert loss == pytest.approx((0.693147 + 0.126928) / 2, abs=1e-5)
    assert accuracy == 0.5
