from dataclasses import replace

import numpy as np
import pytest

from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from features.cache.writer import FeatureWriter
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.objective.schedule import far_from_end, learning_rate
from pipeline.training.record import EpochRecord


@pytest.fixture(scope="module")
def few_pictures(tmp_path_factory):
    """The packaged features of 12 ants and 12 bees, and all for validation."""
    found = read_features(PACKAGED)
    rows = np.concatenate([np.flatnonzero(found.train.labels == k)[:12] for k in (0, 1)])
    file = tmp_path_factory.mktemp("few") / "few.h5"
    paths = {"train": tuple(found.train.paths[row] for row in rows), "val": found.val.paths}
    labels = {"train": tuple(found.train.labels[rows].tolist()), "val": tuple(found.val.labels.tolist())}
    with FeatureWriter(file, paths, labels, 512) as writer:
        writer.write("train", 0, found.train.features[rows])
        writer.write("val", 0, found.val.features)
        writer.finish(found.provenance)
    return file


def test_the_rate_falls_after_epochs_or_after_steps():
    by_epochs, by_steps = TrainConfig(lr=1.0), TrainConfig(lr=1.0, decay_steps=610)
    assert [learning_rate(by_epochs, epoch, 10**9) for epoch in (0, 9, 10, 29)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [learning_rate(by_steps, 99, steps) for steps in (0, 609, 610, 1829)] == pytest.approx([1, 1, 0.1, 0.01])


def test_steps_and_epochs_exclude_each_other():
    with pytest.raises(ValueError, match=r"^--decay-steps is 610 and --lr-step is 5; give one of them"):
        TrainConfig(decay_steps=610, lr_step=5)
    with pytest.raises(ValueError, match="--decay-steps is 0"):
        TrainConfig(decay_steps=0)


@pytest.fixture
def config(feature_file, tmp_path):
    # 3 steps an epoch: the rate falls before steps 5, 10, 15 from 1.
    return TrainConfig(features=feature_file, out=tmp_path / "run", epochs=4, batch=8, lr=0.01, decay_steps=5)


def test_the_rate_falls_within_an_epoch_and_goes_on_where_a_training_was_resumed(config, tmp_path):
    whole = train(config)
    assert [epoch.lr for epoch in whole.history] == pytest.approx([0.01, 0.001, 0.001, 0.0001])
    train(replace(config, epochs=2, out=tmp_path / "resumed"))
    resumed = train(replace(config, out=tmp_path / "resumed", resume=True))
    assert all((resumed.weights["last"][name] == values).all() for name, values in whole.weights["last"].items())


def test_heads_side_by_side_and_rows_from_the_disk_follow_the_same_steps(config, tmp_path):
    alone = train(replace(config, simulator="dense"))
    together = train_many(replace(config, seeds=2, out=tmp_path / "two"))[0]
    streamed = train(replace(config, memory_limit=1e-6, out=tmp_path / "streamed"))
    assert [epoch.lr for epoch in alone.history] == [epoch.lr for epoch in together.history]
    assert [epoch.lr for epoch in alone.history] == [epoch.lr for epoch in streamed.history]
    for name, values in alone.weights["last"].items():
        np.testing.assert_allclose(together.weights["last"][name], values, atol=1e-5)


def test_few_pictures_warn_and_the_advice_works(few_pictures, tmp_path, capsys):
    config = TrainConfig(features=few_pictures, out=tmp_path / "run")
    run = train(config)
    told = capsys.readouterr().err
    assert told.startswith("warning: training stopped far from its end: after 60 steps the learning rate began to fall")
    assert run.history[-1].train_loss == pytest.approx(0.398, abs=0.02)
    assert told.endswith("More steps help: --epochs 330 --decay-steps 660\n")
    longer = train(replace(config, epochs=330, decay_steps=660, out=tmp_path / "longer"))
    assert longer.history[-1].train_loss < 0.15
    assert longer.history[-1].val_loss < run.history[-1].val_loss - 0.1
    assert capsys.readouterr().err == ""


def test_the_packaged_run_does_not_warn(tmp_path, capsys):
    train(TrainConfig(features=PACKAGED, out=tmp_path / "run"))
    assert "warning" not in capsys.readouterr().err


def history(loss, accuracy, lr):
    values = {"train_loss": loss, "train_accuracy": accuracy, "val_loss": 1.0, "val_accuracy": 0.5, "seconds": 1.0}
    return [EpochRecord(epoch=1, lr=lr, **values)]


@pytest.mark.parametrize(
    ("loss", "accuracy", "n_classes", "far"),
    [
        (0.14, 1.0, 2, False),
        (0.16, 1.0, 2, True),
        (0.6, 0.8, 2, False),  # entropy 0.50
        (0.66, 0.8, 2, True),
        (0.9, 0.8, 10, False),  # 0.94
        (1.2, 0.8, 10, True),
        (0.84, 0.5, 2, False),
        (0.1, 0.0, 2, False),
    ],
)
def test_what_is_far_from_the_end(loss, accuracy, n_classes, far):
    config = TrainConfig(epochs=1, lr=1.0)
    assert (far_from_end(config, history(loss, accuracy, 0.1), 244, n_classes) is not None) == far
    assert far_from_end(config, history(loss, accuracy, 1.0), 244, n_classes) is None


@pytest.mark.parametrize(
    ("losses", "far"),
    [
        ([1.09, 1.07, 1.05, 1.02, 1.0, 0.98, 0.96, 0.93, 0.91, 0.89], True),  # iris, standardized
        ([0.61, 0.45, 0.34, 0.28, 0.25, 0.22, 0.19, 0.165, 0.146, 0.127], False),  # ants and bees
        ([0.70, 0.699, 0.698, 0.697, 0.696, 0.695, 0.694, 0.693, 0.692, 0.691], False),  # nothing to be learned
        ([1.0, 0.9, 0.8, 0.7], False),
    ],
)
def test_a_loss_that_still_falls_when_the_rate_does_is_far_from_its_end(losses, far):
    done = [replace(history(loss, 0.65, 1.0)[0], epoch=k) for k, loss in enumerate([*losses, losses[-1]], 1)]
    done[-1] = replace(done[-1], lr=0.1)
    told = far_from_end(TrainConfig(epochs=len(done), lr=1.0), done, 120, 3)
    assert (told is not None) == far
    if far:
        assert "20 % of the way there it made in the last fifth of these steps. More steps help: --epochs 33" in told


def test_the_advice_leaves_out_what_it_replaces():
    config = TrainConfig(epochs=1, lr_step=1, batch=100)
    told = far_from_end(config, history(0.6, 1.0, 4e-6), 1000, 2)
    assert told.endswith("--epochs 61 --decay-steps 610 instead of --lr-step")
    told = far_from_end(TrainConfig(epochs=1, decay_steps=5000), history(0.6, 1.0, 4e-6), 1000, 2)
    assert told.endswith("--epochs 3 --decay-steps 15000")
    assert far_from_end(TrainConfig(epochs=1, head="logistic"), history(0.6, 1.0, 4e-6), 1000, 2) is None
