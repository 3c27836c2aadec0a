import json
from dataclasses import asdict, replace
from statistics import mean, quantiles, stdev

import pytest
import torch
from conftest import names_in

from features.util.errors import InputError
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.names import CHECKPOINT, HEAD, HISTORY, RECORD
from pipeline.training.run import load_run


@pytest.fixture
def config(feature_file, tmp_path):
    return TrainConfig(
        features=feature_file, out=tmp_path / "run", epochs=3, batch=5, lr=0.003, lr_step=2, seed=7, seeds=3
    )


def test_each_head_equals_the_one_trained_alone_with_its_seed(config, tmp_path):
    together = train_many(config)
    assert [run.config.seed for run in together] == [7, 8, 9]
    for run in together:
        alone = train(replace(config, seeds=1, seed=run.config.seed, out=tmp_path / f"alone-{run.config.seed}"))
        assert run.epochs == alone.epochs
        for which in ("last", "best"):
            for name, tensor in alone.weights[which].items():
                assert torch.allclose(run.weights[which][name], tensor, atol=2e-5), name
        for ours, theirs in zip(run.history, alone.history, strict=True):
            ours, theirs = (asdict(replace(epoch, seconds=0)) for epoch in (ours, theirs))
            assert ours == pytest.approx(theirs, abs=1e-5)


def test_every_head_is_an_ordinary_run_and_the_first_is_the_runs_own(config):
    train_many(config)
    ordinary = {HEAD, RECORD, HISTORY}
    assert {file.name for file in config.out.iterdir()} == {*ordinary, "heads.json", "seed-8", "seed-9"}
    assert {file.name for file in (config.out / "seed-8").iterdir()} == ordinary
    assert load_run(config.out).config.seed == 7
    assert load_run(config.out / "seed-9").config.seed == 9


def test_the_spread_is_that_of_the_histories(config):
    runs = train_many(config)
    record = json.loads((config.out / "heads.json").read_text())
    assert record["seeds"] == [7, 8, 9]
    assert record["last"]["accuracies"] == [run.history[-1].val_accuracy for run in runs]
    assert record["best"]["accuracies"] == [max(epoch.val_accuracy for epoch in run.history) for run in runs]
    for which in ("last", "best"):
        accuracies = record[which]["accuracies"]
        assert record[which]["mean"] == pytest.approx(mean(accuracies))
        assert record[which]["standard_deviation"] == pytest.approx(stdev(accuracies))
        assert record[which]["quartiles"] == pytest.approx(quantiles(accuracies, n=4, method="inclusive"))
        assert [record[which][end] for end in ("min", "max")] == [min(accuracies), max(accuracies)]


def test_the_checkpoint_of_an_earlier_single_head_goes(config):
    train(replace(config, seeds=1))
    assert (config.out / CHECKPOINT).exists()
    train_many(replace(config, force=True))
    assert not (config.out / CHECKPOINT).exists()


def test_the_spread_of_earlier_heads_goes_with_a_single_one(config):
    train_many(config)
    train(replace(config, seeds=1, force=True))
    assert names_in(config.out) == sorted([HEAD, RECORD, HISTORY, CHECKPOINT])


def test_a_circuit_too_large_for_memory_is_refused(config):
    with pytest.raises(InputError, match=r"can't be made: --qubits is 40: .* GiB"):
        train_many(replace(config, qubits=40))


def test_resume_is_for_a_single_head():
    with pytest.raises(ValueError, match="only a single head can be resumed"):
        TrainConfig(seeds=2, resume=True)


def test_heads_that_diverge_end_with_advice(config):
    with pytest.raises(InputError, match=r"training stopped, nothing was written: .*lower the learning rate"):
        train_many(replace(config, lr=1e38))
