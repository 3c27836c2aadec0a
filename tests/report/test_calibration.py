import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipeline.report.calibration import calibration


def two_classes(confidences, right):
    """Probabilities and labels of images whose first class is predicted with such a probability, rightly or not."""
    confidences = np.asarray(confidences, dtype=float)
    return np.stack([confidences, 1 - confidences], axis=1), np.where(right, 0, 1)


def test_a_known_table():
    # Guo et al., equation 3: 4/6 · |3/4 - 0.95| + 2/6 · |0/2 - 0.65|.
    found = calibration(*two_classes([0.95] * 4 + [0.65] * 2, [True, True, True, False, False, False]))
    assert found.ece == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.65)
    assert found.mean_probability == pytest.approx((4 * 0.95 + 2 * 0.65) / 6)
    assert found.accuracy == 0.5
    low, high = found.bins
    assert (low.images, low.accuracy) == (2, 0.0)
    assert (low.low, low.high, low.probability) == pytest.approx((0.6, 0.7, 0.65))
    assert (high.images, high.accuracy) == (4, 0.75)
    assert high.wilson95 == pytest.approx([0.30064, 0.95441], abs=1e-5)


def test_bins_are_open_below_and_closed_above():
    found = calibration(*two_classes([0.75, 0.75000001, 1.0], [True, True, True]), n_bins=4)
    assert [(row.high, row.images) for row in found.bins] == [(0.75, 1), (1.0, 2)]


def test_perfect_probabilities_have_no_error():
    found = calibration(*two_classes([0.75] * 4, [True, True, True, False]))
    assert found.ece == pytest.approx(0, abs=1e-15)
    sure = calibration(*two_classes([1.0] * 5, [True] * 5))
    assert (sure.ece, sure.chance, sure.chance95) == (0, 0, 0)


def test_the_error_by_chance_is_the_binomials():
    n, p = 50, 0.8
    counts = np.arange(n + 1)
    expected = (binom.pmf(counts, n, p) * np.abs(counts / n - p)).sum()
    found = calibration(*two_classes([p] * n, [True] * n))
    # The standard error of 1000 draws is about 0.001.
    assert found.chance == pytest.approx(expected, abs=0.004)
    at_most = np.abs(counts / n - p) <= found.chance95 + 1e-12
    assert 0.94 <= binom.pmf(counts, n, p)[at_most].sum() <= 0.98


def test_many_images_are_drawn_in_parts():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 1, 30_000)
    found = calibration(*two_classes(confidences, rng.random(30_000) < confidences))
    assert found.ece < 0.015
    assert found.chance < found.chance95 < 0.015
    assert sum(row.images for row in found.bins) == 30_000


def test_a_head_that_is_too_sure_is_told_from_chance():
    rng = np.random.default_rng(0)
    found = calibration(*two_classes([0.99] * 153, rng.random(153) < 0.8))
    assert found.ece > found.chance95


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=30), st.integers(1, 20))
def test_it_is_the_sum_over_bins(images, n_bins):
    found = calibration(*two_classes(*zip(*images, strict=True)), n_bins=n_bins)
    rows = found.bins
    by_hand = sum(row.images * abs(row.accuracy - row.probability) for row in rows) / len(images)
    assert found.ece == pytest.approx(by_hand, abs=1e-12)
    assert all(row.low < row.high and row.images for row in rows)
