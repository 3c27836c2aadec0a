"""features.cache.info: how well a cache's classes can be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic_provenance

from features.cache import info as info_module
from features.cache.info import separation
from features.cache.store import verify_features
from features.cache.writer import FeatureWriter


def cache(file: Path, labels: np.ndarray, features: np.ndarray, val_features: np.ndarray | None = None) -> Path:
    val = np.zeros((2, features.shape[1]), np.float32) if val_features is None else val_features
    paths = {"train": [f"{row}" for row in range(len(labels))], "val": [f"v{row}" for row in range(len(val))]}
    every = {"train": labels, "val": np.arange(len(val)) % 2}
    with FeatureWriter(file, paths, every, features.shape[1]) as writer:
        writer.write("train", 0, features.astype(np.float32))
        writer.write("val", 0, val)
        writer.finish(replace(synthetic_provenance(), classes=tuple("abc")))
    return file


def test_rows_of_noise_are_at_chance_and_separable_ones_above(tmp_path: Path) -> None:
    """Also with more features than rows; the better the classes are separated, the higher."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    centres = rng.normal(size=(3, 400))
    found = [
        separation(verify_features(cache(tmp_path / f"{scale}.h5", labels, scale * centres[labels] + noise)))
        for scale in (0.0, 0.15, 2.0)
        for noise in [rng.normal(size=(300, 400))]
    ]
    accuracies = [each["accuracy"] for each in found]
    assert accuracies[0] == pytest.approx(1 / 3, abs=0.1)
    assert accuracies[0] + 0.1 < accuracies[1] < accuracies[2] == 1.0
    assert found[1]["standard_error"] == pytest.approx((accuracies[1] * (1 - accuracies[1]) / 300) ** 0.5)
    assert (found[0]["folds"], found[0]["rows"]) == (5, 300)


def test_a_part_of_many_rows_is_judged_and_too_few_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    file = cache(tmp_path / "many.h5", labels, rng.normal(size=(900, 4)))
    monkeypatch.setattr(info_module, "ROWS", 100)
    assert separation(verify_features(file))["rows"] == 100
    few = cache(tmp_path / "few.h5", np.array([0, 0, 0, 1]), rng.normal(size=(4, 4)))
    assert separation(verify_features(few)) is None


def test_validation_rows_take_no_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, features = np.arange(60) % 3, rng.normal(size=(60, 4))
    one, other = (
        separation(verify_features(cache(tmp_path / f"{name}.h5", labels, features, values.astype(np.float32))))
        for name, values in (("one", np.zeros((2, 4))), ("other", 100 * rng.normal(size=(50, 4))))
    )
    assert one == other
