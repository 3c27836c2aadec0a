"""pipeline.demo.limits: when the demo warns, by the run's cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_features import write_pair

from features.cache.store import read_features
from pipeline.demo import limits
from pipeline.demo.limits import MARGIN, limits_of, margins
from pipeline.explain.unlike import Unlikeness
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run


def test_the_margin_is_that_of_the_two_most_probable_classes():
    assert margins(np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])) == pytest.approx([0.3, 0])


def test_what_the_limits_mean_is_counted_on_the_validation_rows(make_feature_file, tmp_path):
    features = make_feature_file(tmp_path / "features.h5", separation=0.02)
    run = train(TrainConfig(features=features, out=tmp_path / "run", epochs=2))
    head = run.head()
    found = limits_of(run, head)
    val = read_features(features).val
    with torch.no_grad():
        shares = head(torch.from_numpy(val.features)).softmax(dim=1).numpy()
    close = [abs(a - b) < MARGIN for a, b in shares.tolist()]
    right = [k for k in range(12) if close[k] and shares[k].argmax() == val.labels[k]]
    assert (found.total, found.unsure, found.unsure_right) == (12, sum(close), len(right))
    assert found.unsure > 0
    # A dozen rows are too few to keep a rate of 5 %.
    assert found.unlike is None
    assert found.reason.startswith("12 validation pictures are too few")


def test_of_many_rows_some_are_looked_at(tmp_path, monkeypatch):
    features = write_pair(tmp_path / "features.h5", ("a", "b"))
    run = train(TrainConfig(features=features, out=tmp_path / "run", epochs=1))
    rows = read_features(features)
    assert limits_of(run, run.head()).unlike.threshold == Unlikeness(rows.train.features, rows.val.features).threshold
    monkeypatch.setattr(limits, "ROWS", 19)
    found = limits_of(run, run.head())
    assert (found.total, found.reason) == (
        10,
        "10 validation pictures are too few to keep to 5 % false alarms, which needs 19",
    )


def test_without_the_cache_nothing_is_called_unlike(make_feature_file, tmp_path):
    features = make_feature_file(tmp_path / "features.h5")
    run = train(TrainConfig(features=features, out=tmp_path / "run", epochs=1))
    make_feature_file(features, seed=1)
    found = limits_of(load_run(run.path), run.head())
    assert (found.unlike, found.total) == (None, 0)
    assert found.reason == "features.h5 holds other features than those the head was trained on"
    features.unlink()
    found = limits_of(load_run(run.path), run.head())
    assert (found.unlike, found.total) == (None, 0)
    assert "there is no feature file" in found.reason
