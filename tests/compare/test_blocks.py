"""What each training of a comparison learns from, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from comparisons import small_comparison

import pipeline.heads.controls.pca
from features.cache.store import read_features
from features.util.errors import InputError
from pipeline.experiments.compare.blocks import Block, key, plan, read_block, run_block, settings, write_block
from pipeline.experiments.compare.config import CompareConfig, MetricName
from pipeline.experiments.compare.folds import Pool, pooled, refuse_few, trials
from pipeline.heads.controls.ablations import PARTS, ablations
from pipeline.heads.registry import HEADS, new_head
from pipeline.training.epochs import train_step
from pipeline.training.loop import train
from pipeline.training.objective.schedule import learning_rate
from pipeline.training.optimizer import Adam
from pipeline.training.samples import epoch_order
from pipeline.util.metrics import METRICS
from pipeline.util.tally import score


@pytest.fixture
def config(tmp_path):
    return small_comparison(tmp_path)


@pytest.fixture
def pool(config):
    return pooled(read_features(config.features))


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


def test_few_to_learn_from_are_part_of_the_many_and_judged_by_the_same(pool):
    whole, many, few = (trials(pool, 3, 3, False, size) for size in (None, 8, 3))
    assert [trial.fold for trial in few] == [0, 1, 2]
    for large, middle, small in zip(whole, many, few, strict=False):
        assert set(small.train) < set(middle.train) < set(large.train)
        assert np.bincount(pool.labels[small.train]).tolist() == [3, 3]
        assert small.test.tolist() == middle.test.tolist() == large.test.tolist()
    assert trials(pool, 4, 3, False, 3)[0].train.tolist() != few[0].train.tolist()
    with pytest.raises(
        InputError, match="class blue has 12 images to learn from beside a fold, --train-sizes 13 needs"
    ):
        refuse_few(pool, 3, [5, 13])


def test_too_few_images_for_the_folds_are_refused(pool):
    with pytest.raises(InputError, match="class blue has 18 images, --folds 10 needs 20; class red has 18 images"):
        refuse_few(pool, 10)
    few = Pool(features=pool.features, labels=pool.labels, n_published=6, classes=pool.classes)
    with pytest.raises(InputError, match="class blue has 3 images in the training split, 5 are needed"):
        refuse_few(few, 2)


# -- blocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_on_the_published_split_a_head_ends_as_train_leaves_it(config, pool, head, tmp_path):
    for row in run_block(config, Block(head, (7, 8)), pool).trainings:
        if row.fold is None:
            run = train(replace(settings(config, head, row.seed), out=tmp_path / str(row.seed)))
            assert (row.n_train, row.n_inner, row.n_test) == (24, 0, 12)
            assert row.epoch == run.epochs["last"]
            assert row.accuracy == run.history[-1].val_accuracy
            assert row.loss == pytest.approx(run.history[-1].val_loss, abs=1e-5)
            assert row.best_epoch == run.epochs["best"]
            assert row.best_accuracy == run.history[run.epochs["best"] - 1].val_accuracy


@pytest.mark.parametrize("head", ["quantum", "logistic"])
def test_rare_classes_are_weighted_and_the_rate_follows_steps_as_in_train(config, pool, head):
    kept = (pool.labels == 0) | (np.arange(len(pool.labels)) % 4 == 1)
    published = int(kept[: pool.n_published].sum())
    few = Pool(features=pool.features[kept], labels=pool.labels[kept], n_published=published, classes=pool.classes)
    kinds = ({}, {"class_weights": "balanced"}, {"lr_step": 10, "decay_steps": 3})
    alike, weighted, stepped = (
        [row.loss for row in run_block(replace(config, **kind), Block(head, (7,)), few).trainings] for kind in kinds
    )
    assert all(one != other for one, other in zip(alike, weighted, strict=True))
    assert (alike == stepped) == (head == "logistic")


@pytest.mark.parametrize("head", ["quantum", "frozen", "mlp"])
def test_on_a_fold_a_head_ends_as_one_trained_alone_on_its_rows(config, pool, head):
    (row,) = [row for row in run_block(config, Block(head, (7, 8)), pool).trainings if row.fold == 1][:1]
    trial = trials(pool, 7, config.folds, False)[1]
    alone_settings = settings(config, head, 7)
    alone = new_head(alone_settings, 512, 2)
    optimizer = Adam(alone, config.lr)
    features, labels = torch.from_numpy(pool.features), torch.from_numpy(pool.labels)
    for epoch in range(config.epochs):
        optimizer.lr = learning_rate(alone_settings, epoch, optimizer.steps)
        rows = torch.from_numpy(trial.train)[epoch_order(7, epoch, len(trial.train))]
        for batch in rows.split(config.batch):
            train_step(alone, optimizer, features[batch], labels[batch])
    with torch.no_grad():
        loss, accuracy = score(alone(features[trial.test]), labels[trial.test])
    assert row.accuracy == accuracy
    assert row.loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_no_head_peeks_at_the_labels_it_is_judged_by(config, pool, head, early_stopping):
    labels = pool.labels.copy()
    labels[pool.n_published :] = 1 - labels[pool.n_published :]
    swapped = Pool(features=pool.features, labels=labels, n_published=pool.n_published, classes=pool.classes)
    config = replace(config, early_stopping=early_stopping, epochs=6, lr=0.05)
    one, other = (run_block(config, Block(head, (7,)), each).trainings[-1] for each in (pool, swapped))
    assert one.fold is other.fold is None
    assert one.epoch == other.epoch
    assert one.accuracy == pytest.approx(1 - other.accuracy)


def test_the_inner_rule_chooses_an_epoch_and_the_last_rule_does_not(config, pool):
    wild = replace(config, epochs=8, lr=0.1)
    last = run_block(wild, Block("quantum", (7, 8)), pool).trainings
    inner = run_block(replace(wild, early_stopping=True), Block("quantum", (7, 8)), pool).trainings
    assert {row.epoch for row in last} == {8}
    assert len({row.epoch for row in inner}) > 1
    assert all(row.n_inner > 0 for row in inner)


def test_a_block_is_the_same_bits_again_and_its_key_names_what_it_depends_on(config, pool):
    first, again = (run_block(config, Block("quantum", (7, 8)), pool).trainings for _ in range(2))
    assert first == again
    wanted = key(config, "abc")
    for same in ({"seeds": 9}, {"heads": tuple(HEADS)}, {"engine": "ray"}, {"workers": 3}, {"seed": 1}):
        assert key(replace(config, **same), "abc") == wanted
    for other in (
        {"lr": 0.1},
        {"folds": 4},
        {"early_stopping": True},
        {"depth": 2},
        {"epochs": 9},
        {"entangler": "ring"},
        {"class_weights": "balanced"},
        {"decay_steps": 5, "lr_step": 10},
    ):
        assert key(replace(config, **other), "abc") != wanted
    assert key(config, "abd") != wanted


def test_blocks_of_earlier_versions_are_still_taken():
    """The key as it was before there were other circuits, weights of classes, or a schedule of steps."""
    assert key(CompareConfig(), "abc") == "35e0fcb8ad68afd9aa841a5025cf9ba492c2ae26a8f23a73d81b6bc95e41259e"


def test_the_plan_covers_every_head_and_seed_once(config):
    planned = plan(replace(config, seeds=25))
    for head in config.heads:
        assert [seed for block in planned if block.head == head for seed in block.seeds] == list(range(7, 32))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_metrics_are_those_of_the_judged_epoch(config, pool, early_stopping):
    wild = replace(config, epochs=8, lr=0.1, early_stopping=early_stopping)
    for row in run_block(wild, Block("quantum", (7, 8)), pool).trainings:
        assert set(row.metrics) == set(METRICS) - {"accuracy"}
        # Computed from the logits in one case, and from the probabilities in the other.
        assert row.metrics["log_loss"] == pytest.approx(row.loss, abs=1e-5)
        assert row.value("accuracy") == row.accuracy


def test_metrics_have_the_names_of_the_registry():
    assert get_args(MetricName) == tuple(METRICS)


def test_a_block_of_a_size_is_kept_beside_that_of_all(config, pool, tmp_path):
    few = Block("quantum", (7, 8), 4)
    result = run_block(config, few, pool)
    assert {row.n_train for row in result.trainings} == {8}
    assert {row.fold for row in result.trainings} == {0, 1, 2}
    write_block(tmp_path, few, result, "k")
    assert read_block(tmp_path, few, "k", "roc_auc") == result
    assert read_block(tmp_path, Block("quantum", (7, 8)), "k", "accuracy") is None
    assert read_block(tmp_path, Block("quantum", (7, 8), 5), "k", "accuracy") is None
    assert few in plan(replace(config, train_sizes=("4", "all")))


@pytest.mark.parametrize("head", [name for name, entry in HEADS.items() if entry.of_circuit and not entry.fitted])
def test_parts_are_taken_from_the_heads_that_are_judged(config, pool, head, tmp_path):
    config = replace(config, ablations=True)
    block = Block(head, (7,))
    result = run_block(config, block, pool)
    assert all(set(row.ablations) == set(PARTS) for row in result.trainings)
    run = train(replace(settings(config, head, 7), out=tmp_path / "run"))
    [row] = [row for row in result.trainings if row.fold is None]
    rows, labels = torch.from_numpy(pool.features[24:]), torch.from_numpy(pool.labels[24:])
    alone = ablations(run.head(), rows, labels, seed=7)
    assert row.ablations == pytest.approx({part.name: part.accuracy for part in alone.parts})
    write_block(tmp_path, block, result, "k")
    assert read_block(tmp_path, block, "k", "accuracy", ablated=True) == result
    write_block(tmp_path, block, run_block(replace(config, ablations=False), block, pool), "k")
    assert read_block(tmp_path, block, "k", "accuracy", ablated=True) is None
    assert read_block(tmp_path, block, "k", "accuracy") is not None


def test_a_block_without_the_metric_is_made_again(config, pool, tmp_path):
    block = Block("linear", (7,))
    result = run_block(config, block, pool)
    earlier = replace(result, trainings=[replace(row, metrics={}) for row in result.trainings])
    write_block(tmp_path, block, earlier, "k")
    assert read_block(tmp_path, block, "k", "accuracy") == earlier
    assert read_block(tmp_path, block, "k", "f1_macro") is None


def test_a_circuit_of_a_heads_name_is_compared_as_a_circuit(config):
    both = replace(config, heads=("classical", "separable"), circuits=("separable", "iqp"))
    assert both.names == ("classical", "separable", "quantum:separable", "iqp")
    assert len({block.file_name for block in plan(both)}) == 2 * len(plan(replace(both, circuits=())))
    made = {name: new_head(settings(both, name, 0), 8, 2).description for name in both.names}
    assert "no entangler" in made["separable"]
    assert made["quantum:separable"].startswith("circuit separable of ")
    alone = replace(config, heads=("quantum", "classical"), circuits=("separable",))
    assert settings(alone, alone.names[-1], 0).circuit == "separable"


def test_each_head_that_holds_a_circuit_is_compared_with_each_circuit(config):
    crossed = replace(config, heads=("quantum", "classical", "frozen"), circuits=("iqp", "mine.py:circuit"))
    assert crossed.names[3:] == ("iqp", "frozen:iqp", "mine.py:circuit", "frozen:mine.py:circuit")
    made = [settings(crossed, name, 0) for name in crossed.names]
    assert [(one.head, one.circuit) for one in made[3:]] == [
        ("quantum", "iqp"),
        ("frozen", "iqp"),
        ("quantum", "mine.py:circuit"),
        ("frozen", "mine.py:circuit"),
    ]
    assert [one.circuit for one in made[:3]] == ["mari"] * 3


@pytest.mark.parametrize("early_stopping", [False, True])
def test_only_the_last_phase_of_a_training_is_judged(config, pool, early_stopping):
    config = replace(config, epochs=3, early_stopping=early_stopping)
    found = run_block(config, Block("sequential", (1,)), pool).trainings
    assert all(4 <= each.epoch <= 6 and 4 <= each.best_epoch <= 6 for each in found)
    assert early_stopping or {each.epoch for each in found} == {6}


def test_components_are_fitted_to_the_training_rows_of_each_fold(config, pool, monkeypatch):
    seen = []
    fit = pipeline.heads.controls.pca.fit_components
    monkeypatch.setattr(
        pipeline.heads.controls.pca,
        "fit_components",
        lambda layer, features: (seen.append(features.numpy().copy()), fit(layer, features)),
    )
    config = replace(config, epochs=1, early_stopping=True)
    run_block(config, Block("pca", (1,)), pool)
    wanted = trials(pool, 1, config.folds, True)
    assert len(seen) == len(wanted) == config.folds + 1
    for trial in wanted:
        assert any(np.array_equal(pool.features[trial.train], rows) for rows in seen)
