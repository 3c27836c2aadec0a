"""Training draws one augmented view of each image each epoch, from the seed alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from features.cache.records import Views
from features.cache.store import read_features
from features.cache.writer import write_features
from features.util.errors import InputError
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.samples import drawn_views

SMALL = {"epochs": 3, "batch": 5, "lr": 0.003, "seed": 7, "simulator": "dense"}


def with_views(feature_file: Path, name: str, make) -> Path:
    """The cache with 4 views of each training image, ``make(features, view)``."""
    read = read_features(feature_file)
    views = np.stack([make(read.train.features, view) for view in range(4)], axis=1)
    file = feature_file.with_name(name)
    said = replace(read.provenance, views=Views(count=4, seed=0))
    write_features(file, said, {"train": replace(read.train, views=views), "val": read.val})
    return file


@pytest.fixture
def noisy(feature_file: Path) -> Path:
    rng = np.random.default_rng(1)
    return with_views(
        feature_file, "noisy.h5", lambda rows, _: (rows + rng.normal(0, 0.3, rows.shape)).astype(np.float32)
    )


def weights(run) -> dict[str, torch.Tensor]:
    return run.weights["last"]


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_views_equal_to_the_images_train_the_same_head(feature_file: Path, tmp_path: Path) -> None:
    copies = with_views(feature_file, "copies.h5", lambda rows, _: rows)
    plain = train(TrainConfig(features=feature_file, out=tmp_path / "plain", **SMALL))
    drawn = train(TrainConfig(features=copies, out=tmp_path / "drawn", views=4, **SMALL))
    assert same(weights(plain), weights(drawn))


def test_the_draw_is_that_of_the_seed(noisy: Path, tmp_path: Path) -> None:
    config = TrainConfig(features=noisy, out=tmp_path / "run", views=4, **SMALL)
    first, again = train(config), train(replace(config, out=tmp_path / "again"))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(train(replace(config, out=tmp_path / "plain", views=0))))
    assert not same(weights(first), weights(train(replace(config, out=tmp_path / "fewer", views=2))))


def test_a_resumed_run_draws_the_same(noisy: Path, tmp_path: Path) -> None:
    config = TrainConfig(features=noisy, out=tmp_path / "run", views=4, **SMALL)
    whole = train(config)
    train(replace(config, out=tmp_path / "halves", epochs=1))
    assert same(weights(whole), weights(train(replace(config, out=tmp_path / "halves", resume=True))))


def test_every_view_is_drawn_equally_often() -> None:
    drawn = torch.stack([drawn_views(3, epoch, 1000, 4) for epoch in range(20)])
    counts = torch.bincount(drawn.flatten(), minlength=4)
    # 20,000 draws: 5,000 a view, standard deviation 61.
    assert (counts - 5000).abs().max() < 300
    assert not torch.equal(drawn[0], drawn[1])


def test_many_heads_draw_as_each_would_alone(noisy: Path, tmp_path: Path) -> None:
    config = TrainConfig(features=noisy, out=tmp_path / "many", views=3, seeds=3, **SMALL)
    for run in train_many(config):
        alone = train(replace(config, seeds=1, seed=run.config.seed, out=tmp_path / f"alone{run.config.seed}"))
        for name, tensor in weights(alone).items():
            assert torch.allclose(weights(run)[name], tensor, atol=2e-5), name


def test_more_views_than_there_are(noisy: Path, feature_file: Path, tmp_path: Path) -> None:
    for file, there in ((noisy, 4), (feature_file, 0)):
        with pytest.raises(InputError) as caught:
            train(TrainConfig(features=file, out=tmp_path / "run", views=8, **SMALL))
        assert str(caught.value) == (
            f"--views is 8, but {file} holds {there} views of each training image; make them: python -m features "
            '--views 8 …  (make: FEATURES_ARGS="--views 8")'
        )
        assert not (tmp_path / "run").exists()
