"""pipeline.explain.unlike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from features.backbone.network import load_backbone
from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from features.util.errors import InputError
from pipeline.explain.unlike import FALSE_ALARMS, Unlikeness


def test_the_distance_is_that_of_the_fifth_nearest_row_of_length_1():
    rng = np.random.default_rng(0)
    train, val, rows = (rng.normal(1, 1, (n, 8)).astype(np.float32) for n in (40, 30, 300))
    found = Unlikeness(train, val).distances(rows)

    def units(several):
        return [row / np.sqrt((row**2).sum()) for row in several.astype(float)]

    wanted = [sorted(np.sqrt(((row - other) ** 2).sum()) for other in units(train))[4] for row in units(rows)]
    assert found == pytest.approx(wanted, abs=1e-5)
    # Longer rows in the same direction are as near; zeros are no error.
    assert Unlikeness(train, val).distances(7 * rows) == pytest.approx(found, abs=1e-5)
    assert np.isfinite(Unlikeness(train, val).distances(np.zeros((1, 8), np.float32))).all()


def test_the_threshold_is_the_largest_distance_but_for_the_stated_share():
    rng = np.random.default_rng(0)
    train = rng.normal(1, 1, (40, 8)).astype(np.float32)
    for n, above in ((19, 0), (20, 0), (39, 1), (99, 4), (100, 4)):
        val = rng.normal(1, 1, (n, 8)).astype(np.float32)
        unlike = Unlikeness(train, val)
        assert (unlike.distances(val) > unlike.threshold).sum() == above
    with pytest.raises(
        InputError, match="18 validation pictures are too few to keep to 5 % false alarms, which needs 19"
    ):
        Unlikeness(train, val[:18])


def test_new_rows_like_the_validation_rows_are_flagged_at_the_stated_rate():
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(300):
        train, val, new = (rng.normal(1, 1, (n, 6)).astype(np.float32) for n in (50, 59, 100))
        unlike = Unlikeness(train, val)
        rates.append((unlike.distances(new) > unlike.threshold).mean())
    # Exactly 3 of 60 ranks; the mean of 300 draws is within 0.01 of it.
    assert np.mean(rates) == pytest.approx(FALSE_ALARMS, abs=0.01)


def test_validation_pictures_are_like_the_training_pictures():
    """Half of the real validation rows set the threshold for the other half."""
    cache = read_features(PACKAGED)
    rng, rates = np.random.default_rng(0), []
    for _ in range(50):
        rows = cache.val.features[rng.permutation(len(cache.val.features))]
        unlike = Unlikeness(cache.train.features, rows[:79])
        rates.append((unlike.distances(rows[79:]) > unlike.threshold).mean())
    assert np.mean(rates) == pytest.approx(FALSE_ALARMS, abs=0.02)


@pytest.mark.slow
def test_diagrams_noise_and_pages_are_not(shared_weights):
    """Pictures of anything else; one of a flower is like those of bees."""
    from conftest import ROOT

    cache = read_features(PACKAGED)
    unlike = Unlikeness(cache.train.features, cache.val.features)
    backbone = load_backbone("resnet18", str(shared_weights))
    rng = np.random.default_rng(0)
    names = ("circuit", "bench", "report", "report_phone", "compare", "devices")
    others = [Image.open(ROOT / f".readme/{name}.png").convert("RGB") for name in names]
    others += [Image.new("RGB", (300, 300), colour) for colour in ("white", "red")]
    others += [Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8))]
    with torch.inference_mode():
        found = unlike.distances(backbone.model(torch.stack([backbone.preprocess(each) for each in others])).numpy())
    assert (found > unlike.threshold).all()
