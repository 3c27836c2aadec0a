"""The whole pipeline on the demo's images with ImageNet weights; skipped, with the reason, where they are absent."""

import pytest

from features.config import ExtractConfig
from features.extract import make_features
from pipeline.config import EvalConfig, TrainConfig
from pipeline.evaluation import evaluate
from pipeline.training import train


@pytest.fixture(scope="module")
def features(shared_data, shared_weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "features.h5"
    return make_features(ExtractConfig(data=str(shared_data), weights=str(shared_weights), out=out))


def test_last_epoch_accuracy_over_three_seeds_and_parity(features, tmp_path):
    for seed in (0, 1, 2):
        run = train(TrainConfig(features=features.path, out=tmp_path / str(seed), seed=seed))
        assert run.parameters == 2086
        assert run.history[-1]["val_accuracy"] >= 0.92
    report = evaluate(EvalConfig(run=run.path))
    assert report.record["source"] == "images"
    assert report.record["parity"]["images"] == 153
    assert report.record["parity"]["max_difference"] <= 1e-4
