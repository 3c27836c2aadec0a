"""The search for hyperparameters: what it may look at, and a small one really run, resumed and killed."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import names_in, wait_for

from features.cache.featureset import Split
from features.cache.store import read_features
from features.cache.writer import join, write_features
from features.util.errors import InputError
from pipeline.experiments.sweep import study
from pipeline.experiments.sweep import sweep as module
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.experiments.sweep.sweep import inner_accuracies, sweep
from pipeline.training.config import TrainConfig
from pipeline.training.run import load_run

ROOT = Path(__file__).parents[2]
FILES = {".lock", "importance.png", "journal.log", "sweep.html", "sweep.json", "sweep.md", "trials.png"}
optuna = pytest.importorskip("optuna", reason="needs the extra `sweep`: pip install '.[sweep]'")


@pytest.fixture
def config(feature_file, tmp_path):
    out = tmp_path / "sweep"
    return SweepConfig(features=feature_file, out=out, trials=3, jobs=1, epochs=2, folds=2, repeats=1)


def start(python, config):
    """The command in a process of its own, as a user starts it."""
    flags = [f"--{name}={getattr(config, name)}" for name in ("features", "out", "trials", "jobs", "epochs", "folds")]
    command = [python, "-m", "pipeline", "sweep", *flags, f"--repeats={config.repeats}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished_trials(config):
    """How many trials the journal says are finished; op code 6 sets a trial's state, 1 and 2 are its good ends."""
    journal = config.out / "journal.log"
    lines = journal.read_text().splitlines() if journal.is_file() else []
    return sum(1 for line in map(json.loads, lines) if line["op_code"] == 6 and line["state"] in (1, 2))


def random_split(separable, n=48):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    features = rng.normal(0, 1, (n, 32)).astype(np.float32)
    if separable:
        features[:, 0] += 6 * labels - 3
    return Split(features=features, labels=labels, paths=tuple(map(str, range(n))))


def test_separable_classes_are_told_apart_and_random_ones_are_not():
    setting = TrainConfig(epochs=15, lr=0.01, batch=4, simulator="dense")
    *_, separable = inner_accuracies(setting, random_split(separable=True), 4, 2)
    *_, chance = inner_accuracies(setting, random_split(separable=False), 4, 2)
    assert min(separable) > 0.9
    # Heads that know their training samples by heart still guess at the others.
    assert all(0.2 < accuracy < 0.8 for accuracy in chance)


@pytest.mark.parametrize("n", [48, 45])
def test_no_head_is_scored_on_a_sample_it_was_trained_on(n, monkeypatch):
    trained_on = []

    def watch(config, networks, seeds, rows, labels, train_rows):
        trained_on.append(train_rows)
        yield 0.1, None, None

    monkeypatch.setattr(module, "train_epochs", watch)
    scored = []

    class Everything:
        """A head that is right about every sample: its accuracy counts the samples that are scored."""

        def __call__(self, rows):
            scored.append(len(rows))
            return torch.eye(2)[torch.arange(n) % 2].expand(6, n, 2)

    monkeypatch.setattr(module, "_networks", lambda *_: Everything())
    (accuracies,) = inner_accuracies(TrainConfig(simulator="dense"), random_split(True, n), 3, 2)
    assert accuracies == [1.0, 1.0]
    (rows,) = trained_on
    assert rows.shape == (6, 2 * n // 3)
    for repeat in rows.split(3):
        counts = torch.bincount(repeat.flatten(), minlength=n)
        assert counts.max() == 2, "each sample is left out of one fold of three"
    assert not torch.equal(rows[0].sort().values, rows[3].sort().values)


def test_a_small_sweep_leaves_its_files_and_a_command_that_works(config, warm_python, capsys):
    config = replace(config, trials=6)
    record = sweep(config)
    assert names_in(config.out) == sorted(FILES)
    assert json.loads((config.out / "sweep.json").read_text()) == record
    page = (config.out / "sweep.html").read_text()
    assert "On the validation samples, looked at only now: " in page
    assert page.count("<img") == 2
    assert len(record["trials"]) == 6
    paper = TrainConfig()
    assert {name: record["trials"][0][name] for name in module.SEARCHED} == {
        name: getattr(paper, name) for name in module.SEARCHED
    }
    assert record["paper_inner_accuracy"] == record["trials"][0]["accuracy"]
    complete = [trial["accuracy"] for trial in record["trials"] if trial["accuracy"] is not None]
    assert record["best"]["inner_accuracy"] == max(complete)
    assert len(record["validation"]["accuracies"]) == 5
    assert set(record["importances"]) == set(module.SEARCHED)

    last = capsys.readouterr().out.splitlines()[-1].strip()
    assert last == record["command"]
    python, *words = shlex.split(last)
    assert Path(python).absolute() == Path(sys.executable)  # short where it is below the current folder
    command = [warm_python, *words]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    run = load_run(config.out / "run")  # beside the run that stands, on the features of the sweep
    assert run.config.qubits == record["best"]["setting"]["qubits"]
    assert run.config.features == config.features


@pytest.mark.slow
def test_the_validation_samples_have_no_say(config, tmp_path):
    features = read_features(config.features)
    val = replace(features.val, labels=1 - features.val.labels)
    other = tmp_path / "other.h5"
    write_features(other, features.provenance, {"train": features.train, "val": val})
    first = sweep(config)
    second = sweep(replace(config, features=other, out=tmp_path / "other"))
    assert first["trials"] == second["trials"]
    assert first["best"] == second["best"]
    assert first["validation"]["mean"] == pytest.approx(1 - second["validation"]["mean"])


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(config, capsys):
    first = sweep(replace(config, trials=2))
    second = sweep(config)
    assert "2 of 3 trials are done" in capsys.readouterr().out
    assert second["trials"][:2] == first["trials"]
    assert len(second["trials"]) == 3
    assert sweep(config)["trials"] == second["trials"], "nothing is left to do"
    other = sweep(replace(config, epochs=1, trials=1))
    assert [trial["number"] for trial in other["trials"]] == [0], "another protocol is another study"


@pytest.mark.slow
def test_a_sweep_of_an_earlier_version_goes_on(config, capsys):
    sweep(replace(config, trials=2))
    features, journal = read_features(config.features), config.out / "journal.log"
    join(config.features, [config.features], features.provenance, ["e" * 64])
    today, earlier = (study._name(config, content_sha256) for content_sha256 in (features.content_sha256, "e" * 64))
    journal.write_text(journal.read_text().replace(today, earlier))
    sweep(config)
    assert "2 of 3 trials are done" in capsys.readouterr().out


def test_a_circuit_from_a_file_is_searched_with_the_qubits_it_takes(config, tmp_path):
    (tmp_path / "mine.py").write_text(
        """import pennylane as qml
weight_shapes = {"w": (3,)}
def mine(inputs, w):
    qml.AngleEmbedding(inputs, range(3))
    qml.RX(w[0], 0)
    return qml.expval(qml.Z(0))
def none(inputs, w):
    qml.RX(inputs[..., 9], 0)
    return qml.expval(qml.Z(0))
"""
    )
    features = read_features(config.features)
    for circuit, qubits in (("mari", (2, 6)), (f"{tmp_path}/mine.py:mine", (2, 3)), ("amplitude", (4, 4))):
        assert study.qubits_of(replace(config, circuit=circuit), features) == qubits
    with pytest.raises(
        InputError, match=r"mine\.py:none, line 8 fails with --qubits 6 and --depth 6: IndexError: index 9"
    ):
        study.qubits_of(replace(config, circuit=f"{tmp_path}/mine.py:none"), features)


@pytest.mark.slow
def test_ctrl_c_keeps_the_trials_that_are_done(config, warm_python):
    process = start(warm_python, replace(config, trials=1000, jobs=2))
    wait_for(lambda: finished_trials(config) >= 2, seconds=120)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "trials are kept" in err
    assert "the same command goes on" in err
    assert "Traceback" not in out + err
    kept = finished_trials(config)
    assert kept >= 2
    record = sweep(replace(config, trials=kept + 1))
    assert sum(trial["state"] != "fail" for trial in record["trials"]) == kept + 1


@pytest.mark.slow
def test_a_killed_sweep_is_mended(config, warm_python):
    process = start(warm_python, replace(config, trials=1000))
    wait_for(lambda: finished_trials(config) >= 1, seconds=120)
    process.kill()
    process.communicate(timeout=60)
    # Its own process notices and ends; until then it may still write.
    sizes = [-1]

    def quiet():
        sizes.append((config.out / "journal.log").stat().st_size)
        return len(sizes) > 200 and len(set(sizes[-100:])) == 1

    wait_for(quiet, seconds=60)
    (config.out / "journal.log.lock").symlink_to("nowhere")
    with (config.out / "journal.log").open("a") as journal:
        journal.write('{"op_code": 6, "trial_')
    kept = finished_trials_of_whole_lines(config)
    record = sweep(replace(config, trials=kept + 2))
    assert sum(trial["state"] != "fail" for trial in record["trials"]) == kept + 2


def finished_trials_of_whole_lines(config):
    journal = config.out / "journal.log"
    whole = config.out.parent / "whole" / "journal.log"
    whole.parent.mkdir()
    whole.write_text(journal.read_text().rpartition("\n")[0] + "\n")
    return finished_trials(replace(config, out=whole.parent))


def test_two_sweeps_do_not_write_the_same_folder(config):
    shutil.rmtree(config.out, ignore_errors=True)
    config.out.mkdir()
    with (
        module._only_one(config.out),
        pytest.raises(InputError, match=r"another sweep is at work in .*; wait for it, or name another --out"),
    ):
        sweep(config)


def test_one_trial_has_a_page_too_but_no_importances(config):
    record = sweep(replace(config, trials=1))
    assert record["importances"] is None
    assert names_in(config.out) == sorted(FILES - {"importance.png"})
    assert "1 trials of 1, 0 of them cut short" in (config.out / "sweep.html").read_text()


def test_without_optuna_the_error_says_what_to_install(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs Optuna, which is not installed; .* -m pip install 'optuna>=4'"):
        sweep(config)
    assert not config.out.exists()


def test_more_folds_than_a_class_has_samples_are_refused(config):
    with pytest.raises(InputError, match="--folds is 13, and a class has 12 training samples; take fewer folds"):
        sweep(replace(config, folds=13))


def test_mistakes_are_told_all_at_once():
    with pytest.raises(ValueError, match=r"(?s)--trials is 0; .*--folds is 1; it must be 2 or more"):
        SweepConfig(trials=0, folds=1)


def test_diverging_settings_are_cut_short(config, monkeypatch):
    monkeypatch.setattr(module, "inner_accuracies", lambda *_: (_ for _ in ()).throw(module.NonFiniteError("loss")))
    study = optuna.create_study(direction="maximize")
    study.optimize(
        lambda trial: module._value(config, read_features(config.features), (2, 6), trial, os.getppid()), n_trials=2
    )
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "PRUNED"]
