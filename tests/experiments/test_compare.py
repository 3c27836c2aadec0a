"""The comparison: trials, blocks, engines, going on after a stop, and what it writes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import wait_for

from features.cache.store import read_features
from features.util.errors import InputError
from pipeline.experiments.compare import blocks, comparison
from pipeline.experiments.compare.blocks import Block, key, plan, run_block, settings
from pipeline.experiments.compare.comparison import compare
from pipeline.experiments.compare.conclusion import conclude, points
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.folds import Pool, pooled, refuse_few, trials
from pipeline.experiments.compare.results import figures
from pipeline.experiments.compare.table import COLUMNS
from pipeline.heads.choices import HEADS
from pipeline.training.loop import epoch_order, learning_rate, score, train, train_step
from pipeline.training.optimizer import FlatAdam
from pipeline.training.run import new_head

FILES = {"compare.md", "compare.png", "compare.json", "compare.csv", "blocks"}


@pytest.fixture
def config(hard_file, tmp_path):
    return CompareConfig(
        features=hard_file,
        out=tmp_path / "compare",
        seeds=2,
        folds=3,
        epochs=3,
        batch=5,
        lr=0.003,
        lr_step=2,
        seed=7,
        heads=("quantum", "classical", "logistic"),
        workers=1,
    )


@pytest.fixture
def hard_file(make_feature_file, tmp_path):
    """Features of two classes that overlap, so that heads differ in accuracy."""
    return make_feature_file(tmp_path / "hard.h5", separation=0.04)


@pytest.fixture
def pool(hard_file):
    return pooled(read_features(hard_file))


# -- trials ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_inner", [False, True])
def test_every_image_is_judged_once_a_repetition_and_never_learned_from(pool, with_inner):
    found = trials(pool, 3, 4, with_inner)
    assert [trial.fold for trial in found] == [0, 1, 2, 3, None]
    assert sorted(np.concatenate([trial.test for trial in found[:-1]])) == list(range(36))
    for trial in found:
        rows = np.concatenate([trial.train, trial.inner, trial.test])
        assert sorted(rows) == list(range(36))
        assert bool(len(trial.inner)) == with_inner
        for part in (trial.train, trial.inner, trial.test):
            assert abs(2 * pool.labels[part].sum() - len(part)) <= 1
    assert list(found[-1].test) == list(range(24, 36))


def test_a_seed_is_one_partition_and_another_seed_another(pool):
    folds = [trials(pool, seed, 3, False)[0].test.tolist() for seed in (3, 3, 4)]
    assert folds[0] == folds[1] != folds[2]


def test_too_few_images_for_the_folds_are_refused(pool):
    with pytest.raises(InputError, match="class blue has 18 images, --folds 10 needs 20; class red has 18 images"):
        refuse_few(pool, 10)
    few = Pool(features=pool.features, labels=pool.labels, n_published=6, classes=pool.classes)
    with pytest.raises(InputError, match="class blue has 3 images in the training split, 5 are needed"):
        refuse_few(few, 2)


# -- blocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_on_the_published_split_a_head_ends_as_train_leaves_it(config, pool, head, tmp_path):
    for row in run_block(config, Block(head, (7, 8)), pool)["trainings"]:
        if row["fold"] is None:
            run = train(replace(settings(config, head, row["seed"]), out=tmp_path / str(row["seed"])))
            assert (row["n_train"], row["n_inner"], row["n_test"]) == (24, 0, 12)
            assert row["epoch"] == run.epochs["last"]
            assert row["accuracy"] == run.history[-1].val_accuracy
            assert row["loss"] == pytest.approx(run.history[-1].val_loss, abs=1e-5)
            assert row["best_epoch"] == run.epochs["best"]
            assert row["best_accuracy"] == run.history[run.epochs["best"] - 1].val_accuracy


@pytest.mark.parametrize("head", ["quantum", "frozen", "mlp"])
def test_on_a_fold_a_head_ends_as_one_trained_alone_on_its_rows(config, pool, head):
    (row,) = [row for row in run_block(config, Block(head, (7, 8)), pool)["trainings"] if row["fold"] == 1][:1]
    trial = trials(pool, 7, config.folds, False)[1]
    alone_settings = settings(config, head, 7)
    alone = new_head(alone_settings, 512, 2)
    optimizer = FlatAdam(alone, config.lr)
    features, labels = torch.from_numpy(pool.features), torch.from_numpy(pool.labels)
    for epoch in range(config.epochs):
        optimizer.lr = learning_rate(alone_settings, epoch)
        rows = torch.from_numpy(trial.train)[epoch_order(7, epoch, len(trial.train))]
        for batch in rows.split(config.batch):
            train_step(alone, optimizer, features[batch], labels[batch])
    with torch.no_grad():
        loss, accuracy = score(alone(features[trial.test]), labels[trial.test])
    assert row["accuracy"] == accuracy
    assert row["loss"] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_no_head_peeks_at_the_labels_it_is_judged_by(config, pool, head, early_stopping):
    labels = pool.labels.copy()
    labels[pool.n_published :] = 1 - labels[pool.n_published :]
    swapped = Pool(features=pool.features, labels=labels, n_published=pool.n_published, classes=pool.classes)
    config = replace(config, early_stopping=early_stopping, epochs=6, lr=0.05)
    one, other = (run_block(config, Block(head, (7,)), each)["trainings"][-1] for each in (pool, swapped))
    assert one["fold"] is other["fold"] is None
    assert one["epoch"] == other["epoch"]
    assert one["accuracy"] == pytest.approx(1 - other["accuracy"])


def test_the_inner_rule_chooses_an_epoch_and_the_last_rule_does_not(config, pool):
    wild = replace(config, epochs=8, lr=0.1)
    last = run_block(wild, Block("quantum", (7, 8)), pool)["trainings"]
    inner = run_block(replace(wild, early_stopping=True), Block("quantum", (7, 8)), pool)["trainings"]
    assert {row["epoch"] for row in last} == {8}
    assert len({row["epoch"] for row in inner}) > 1
    assert all(row["n_inner"] > 0 for row in inner)


def test_a_block_is_the_same_bits_again_and_its_key_names_what_it_depends_on(config, pool):
    first, again = (run_block(config, Block("quantum", (7, 8)), pool)["trainings"] for _ in range(2))
    assert first == again
    wanted = key(config, "abc")
    for same in ({"seeds": 9}, {"heads": HEADS}, {"engine": "ray"}, {"workers": 3}, {"seed": 1}):
        assert key(replace(config, **same), "abc") == wanted
    for other in (
        {"lr": 0.1},
        {"folds": 4},
        {"early_stopping": True},
        {"depth": 2},
        {"epochs": 9},
        {"entangler": "ring"},
    ):
        assert key(replace(config, **other), "abc") != wanted
    assert key(config, "abd") != wanted


def test_the_plan_covers_every_head_and_seed_once(config):
    planned = plan(replace(config, seeds=25))
    for head in config.heads:
        assert [seed for block in planned if block.head == head for seed in block.seeds] == list(range(7, 32))


# -- the whole comparison ----------------------------------------------------------------------------------------------


def test_it_leaves_exactly_these_files_and_says_where(config, capsys):
    record = compare(config)
    assert {file.name for file in config.out.iterdir()} == FILES
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{config.out / 'compare.md'}: ")
    assert json.loads((config.out / "compare.json").read_text()) == json.loads(json.dumps(record))
    rows = list(csv.DictReader((config.out / "compare.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 2 * (3 + 1)
    text = (config.out / "compare.md").read_text()
    assert record["conclusion"] in text
    assert all(f"| {head} " in text for head in config.heads)


def test_its_figures_are_those_of_its_trainings(config):
    record = compare(config)
    rows = list(csv.DictReader((config.out / "compare.csv").read_text().splitlines()))
    of_head = {
        head: [float(row["accuracy"]) for row in rows if row["head"] == head and row["design"] == "k-fold"]
        for head in config.heads
    }
    found = record["figures"]["k-fold"]
    for head, accuracies in of_head.items():
        assert found[head]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
        assert found[head]["best_on_test"] >= found[head]["accuracy"]["mean"]
    differences = np.subtract(of_head["quantum"], of_head["classical"])
    assert found["quantum"]["difference"]["mean"] == pytest.approx(differences.mean())
    # Every third image is judged, the others are learned from: 1/6 + 1/2 of the variance.
    assert found["quantum"]["difference"]["standard_error"] == pytest.approx(
        differences.std(ddof=1) * (1 / 6 + 1 / 2) ** 0.5
    )
    assert found["classical"]["difference"] is None


def test_the_same_command_again_trains_nothing_and_another_lr_all(config, monkeypatch, capsys):
    first = compare(config)
    monkeypatch.setattr(comparison, "run_blocks", lambda _config, todo, _pool: iter([]) if not todo else 1 / 0)
    capsys.readouterr()
    again = compare(config)
    assert "3 of 3 blocks are done already" in capsys.readouterr().out
    assert again["figures"] == first["figures"]
    with pytest.raises(ZeroDivisionError):
        compare(replace(config, lr=0.004))


def test_stopped_after_a_block_it_goes_on_to_the_same_figures(config, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SEEDS_IN_BLOCK", 1)
    undisturbed = compare(replace(config, out=tmp_path / "undisturbed"))
    whole, done = comparison.run_blocks, []

    def interrupted(*arguments):
        for block, record in whole(*arguments):
            done.append(block)
            yield block, record
            raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "run_blocks", interrupted)
    for kept in (1, 2):
        with pytest.raises(KeyboardInterrupt, match=f"{kept} of 6 blocks are kept"):
            compare(config)
    assert {file.name for file in config.out.iterdir()} == {"blocks"}
    monkeypatch.setattr(comparison, "run_blocks", whole)
    resumed = compare(config)
    assert len(set(done)) == 2
    assert resumed["figures"] == undisturbed["figures"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"fold": 1', '"fold": 2', 1),
        lambda text: text.replace('"head": "quantum"', '"head": "linear"'),
    ],
)
def test_a_block_that_is_not_as_it_was_written_is_made_again(config, damage):
    first = compare(config)
    (file,) = (config.out / "blocks").rglob("quantum-*.json")
    before = json.loads(file.read_text())
    file.write_text(damage(file.read_text()))
    assert compare(config)["figures"] == first["figures"]
    assert json.loads(file.read_text())["trainings"] == before["trainings"]


def test_other_features_are_compared_anew(config, make_feature_file):
    first = compare(config)
    make_feature_file(config.features, seed=5, separation=0.04)
    assert compare(config)["figures"] != first["figures"]
    assert len(list((config.out / "blocks").iterdir())) == 2


def test_heads_that_diverge_end_with_advice_and_no_tables(config):
    with pytest.raises(InputError, match=r"training stopped: .* Try a smaller --lr than 1e\+38"):
        compare(replace(config, lr=1e38, heads=("quantum", "classical")))
    assert {file.name for file in config.out.iterdir()} == {"blocks"}


def test_a_circuit_too_large_for_dense_matrices_is_refused(config):
    with pytest.raises(InputError, match=r"can't be trained side by side: n_qubits is 20"):
        compare(replace(config, qubits=20))


def test_one_seed_gives_figures_without_intervals_on_the_published_split(config):
    record = compare(replace(config, seeds=1))
    assert record["figures"]["published"]["quantum"]["accuracy"]["low"] is None
    assert record["figures"]["k-fold"]["quantum"]["accuracy"]["count"] == 3


# -- engines -----------------------------------------------------------------------------------------------------------


def command(config, *more):
    flags = {"features": config.features, "out": config.out, "seeds": 2, "folds": 3, "epochs": 3, "batch": 5}
    flags |= {"lr": 0.003, "lr-step": 2, "seed": 7, "workers": 2}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "pipeline", "compare", *words, "--heads", *config.heads, *more]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_two_workers_give_the_same_bits_as_this_process(config, tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    compare(config)
    there = replace(config, out=tmp_path / engine)
    finished = subprocess.run(
        command(there, "--engine", engine), capture_output=True, text=True, check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    assert "Traceback" not in finished.stderr
    for file in (config.out / "blocks").rglob("*.json"):
        mine, theirs = (json.loads((out / file.relative_to(config.out)).read_text()) for out in (config.out, there.out))
        assert mine["trainings"] == theirs["trainings"]


def test_a_cluster_that_is_not_there_is_a_clear_error(config):
    pytest.importorskip("ray")
    words = command(config, "--engine", "ray", "--address", "127.0.0.1:1", "--workers", "0")
    finished = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 2, finished.stderr
    assert "there is no Ray cluster at --address 127.0.0.1:1" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_ctrl_c_ends_with_130_and_how_to_go_on(config):
    process = subprocess.Popen(
        command(config, "--epochs", "100000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The logistic head has no epochs: its block is done first, then the others would go on for hours.
    while not list(config.out.rglob("logistic-*.json")):
        assert process.poll() is None, process.stderr.read()
    time.sleep(1)  # the file is there a moment before the block is counted
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 of 3 blocks are kept, the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert {file.name for file in config.out.iterdir()} == {"blocks"}


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


# -- conclusions -------------------------------------------------------------------------------------------------------


def record_of(accuracies, reference="classical", seeds=10, folds=5):
    """A record of planted accuracies: for each head an array of shape (seeds, folds)."""
    rows = [
        {
            "head": head,
            "design": design,
            "seed": seed,
            "fold": fold if design == "k-fold" else None,
            "n_train": 80,
            "n_inner": 0,
            "n_test": 20,
            "accuracy": values[seed, fold],
            "best_accuracy": values[seed, fold],
        }
        for head, values in accuracies.items()
        for design in ("k-fold", "published")
        for seed in range(seeds)
        for fold in range(folds if design == "k-fold" else 1)
    ]
    config = {"seeds": seeds, "folds": folds, "reference": reference, "early_stopping": False}
    found = figures(rows, list(accuracies), reference)
    return {"config": config, "images": 100, "published": {"train": 80, "val": 20}, "figures": found}


def planted(*differences, noise=0.01):
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    heads = {"classical": base}
    for name, difference in zip(("quantum", "mlp", "linear"), differences, strict=False):
        heads[name] = base + difference + rng.normal(0, noise, (10, 5))
    return record_of(heads)


def test_a_planted_difference_is_concluded_with_its_direction():
    text = conclude(planted(-0.03, 0.0))
    assert "the quantum head is worse than the classical head" in text
    assert "p < 0.001 corrected" in text
    assert "of mlp none differs detectably" in text
    assert "the quantum head is better than the classical head" in conclude(planted(+0.03))


def test_no_difference_is_no_conclusion_either_way_and_says_what_would_be_missed():
    record = planted(0.0, 0.05, 0.0)
    text = conclude(record)
    visible = 100 * record["figures"]["k-fold"]["quantum"]["smallest_visible"]
    assert "it can't be concluded that the quantum head is better or worse than the classical head" in text
    assert f"would often miss a true difference of less than {visible:.1f} points" in text
    assert "mlp (+" in text
    assert "differs detectably from classical, linear does not" in text
    assert "more images" in text


def test_another_reference_turns_the_differences_round():
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    heads = {"quantum": base - 0.03 + rng.normal(0, 0.01, (10, 5)), "classical": base}
    to_classical, to_quantum = (
        record_of(heads, reference)["figures"]["k-fold"] for reference in ("classical", "quantum")
    )
    assert to_quantum["classical"]["difference"]["mean"] == -to_classical["quantum"]["difference"]["mean"]
    assert "the classical head is better than the quantum head" in conclude(record_of(heads, "quantum"))


def test_a_difference_on_which_only_seeds_agree_is_told_as_one_of_these_images():
    rng = np.random.default_rng(0)
    base = 0.9 + rng.normal(0, 0.01, (10, 5))
    quantum = base + rng.normal(0, 0.03, (10, 5))
    # The first column stands for the published split too.
    quantum[:, 0] = base[:, 0] - 0.01 + rng.normal(0, 0.002, 10)
    text = conclude(record_of({"classical": base, "quantum": quantum}))
    assert "it can't be concluded" in text
    assert "points on which the seeds agree in the published split (p < 0.001 corrected) tell of its 20 images" in text
    assert "seeds agree" not in conclude(planted(0.0))


def test_points_have_a_sign_unless_they_round_to_zero():
    assert [points(value) for value in (0.012, -0.0004, 0.0004, -0.05)] == ["+1.2", "0.0", "0.0", "−5.0"]


def test_heads_that_never_differ_are_told_as_such():
    base = np.full((10, 5), 0.9)
    assert "in every single training the same" in conclude(record_of({"classical": base, "quantum": base}))
    assert "too little to judge" in conclude(record_of({"classical": base, "quantum": base + 0.01}))
