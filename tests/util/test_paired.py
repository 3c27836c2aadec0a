"""The interval of a paired difference holds what it promises."""

import numpy as np
import pytest

from pipeline.util.metrics import wilson95
from pipeline.util.paired import paired_difference95


@pytest.mark.parametrize(("together", "first", "second"), [(0.85, 0.08, 0.05), (0.6, 0.2, 0.1), (0.9, 0.06, 0.03)])
def test_the_interval_covers_the_true_difference(together: float, first: float, second: float):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        kind = rng.choice(4, size=153, p=[together, first, second, abs(1 - together - first - second)])
        low, high = paired_difference95(kind <= 1, (kind == 0) | (kind == 2))
        held.append(low <= first - second <= high)
    assert 0.92 < np.mean(held) <= 0.99


def test_it_is_symmetric_and_stays_within_one():
    rng = np.random.default_rng(1)
    one, other = rng.random(40) < 0.9, rng.random(40) < 0.7
    low, high = paired_difference95(one, other)
    assert paired_difference95(other, one) == pytest.approx((-high, -low))
    everything, nothing = np.ones(5, bool), np.zeros(5, bool)
    low, high = paired_difference95(everything, nothing)
    assert -1 <= low <= 1 <= high + 1e-12
    assert high <= 1 + 1e-12
    assert paired_difference95(everything, everything) == pytest.approx((-0.4345, 0.4345), abs=1e-3)


def test_of_shares_it_is_that_of_expected_counts():
    first = np.repeat([True, False], [30, 10])
    second = np.tile([True, False, True, True], 10)
    halves = (second + ~second) / 2
    low, high = paired_difference95(first, halves)
    assert low < first.mean() - 0.5 < high
    assert paired_difference95(first, second * 1.0) == paired_difference95(first, second)
    # Newcombe's method without correlation: shares that are all alike tell nothing about an image.
    (low1, high1), (low2, high2) = wilson95(30, 40), wilson95(20, 40)
    assert low == pytest.approx(0.25 - np.hypot(0.75 - low1, high2 - 0.5))
    assert high == pytest.approx(0.25 + np.hypot(high1 - 0.75, 0.5 - low2))
