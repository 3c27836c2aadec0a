"""pipeline.training.streaming.cluster: many processes take the steps of one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import names_in

from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.training import samples
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.streaming.order import Order

SHARED = Order(block_rows=3, window_blocks=4, parts=2)


@pytest.fixture
def config(feature_file, tmp_path, monkeypatch):
    """A training on 24 rows in 8 blocks, dealt into two parts however many processes there are."""
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setattr(samples.Order, "of", lambda *_: SHARED)
    # At the paper's learning rate: Adam turns the last bit of a gradient near zero into a share of the rate.
    return TrainConfig(features=feature_file, out=tmp_path / "run", epochs=8, batch=10, memory_limit=1e-6)


def assert_alike(left, right):
    for which in ("last", "best"):
        for name, weights in left.weights[which].items():
            torch.testing.assert_close(right.weights[which][name], weights, rtol=0, atol=1e-6)
    for there, here in zip(left.history, right.history, strict=True):
        assert vars(replace(here, seconds=0)) == pytest.approx(vars(replace(there, seconds=0)), abs=1e-6)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"workers": 2}, "--workers is given, but --engine is local; add --engine ray"),
        ({"address": "here:1"}, "--address is given, but --engine is local; add --engine ray"),
        ({"engine": "ray", "workers": 3, "batch": 8}, "--batch is 8 and --workers is 3; the batch must be a multiple"),
        ({"engine": "ray", "seeds": 2}, "--engine is ray; it trains one head, step by step, on plain rows"),
    ],
)
def test_flags_that_do_not_go_together(flags, said):
    with pytest.raises(FlagError, match=said):
        TrainConfig(**flags)


pytest_ray = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # Ray leaves its log files to the garbage collector
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.mark.slow
@pytest_ray
def test_two_workers_end_as_one_with_the_same_steps(config, tmp_path, capsys):
    pytest.importorskip("ray.train", reason="needs Ray: pip install 'ray[data,train]'")
    one = train(replace(config, out=tmp_path / "one"))
    capsys.readouterr()
    two = train(replace(config, engine="ray", workers=2))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("--workers is 2, which share the rows of")
    assert [line.split()[1] for line in said if line.startswith("epoch")] == [f"{epoch}/8" for epoch in range(1, 9)]
    assert_alike(one, two)
    assert two.order == SHARED
    assert names_in(tmp_path) == ["one", "run", "synthetic.h5"]
    # One process goes on where two stopped.
    longer = train(replace(config, epochs=10, resume=True))
    assert_alike(train(replace(config, epochs=10, out=tmp_path / "straight")), longer)


@pytest.mark.slow
@pytest_ray
def test_what_a_worker_finds_wrong_comes_back(config):
    pytest.importorskip("ray.train", reason="needs Ray: pip install 'ray[data,train]'")
    with pytest.raises(InputError, match=r"training stopped after 0 epochs: .*lower the learning rate"):
        train(replace(config, engine="ray", workers=2, lr=1e38))
    with pytest.raises(InputError, match=r"begun in 2 parts, and --workers is 5; that many must divide the parts"):
        train(replace(config, engine="ray", workers=5))
