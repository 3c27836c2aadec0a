"""Simulated studies: the truth in them is what it should be."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.experiments.simulation import Shape, shift_of, simulated

SHAPE = Shape(counts=(40, 60), repetitions=3, sizes=(None, 5))


def test_every_point_is_judged_once_a_repetition_by_every_head():
    found = simulated(np.random.default_rng(0), (0.5, 2.0), SHAPE)
    assert {size: values.shape for size, values in found.items()} == {None: (15, 2), 5: (15, 2)}
    assert all((values >= 0).all() and (values <= 1).all() for values in found.values())
    # Shares of a fold's 20 points.
    assert np.allclose(20 * found[None], np.round(20 * found[None]))


def test_a_larger_shift_is_better_and_more_points_to_learn_from_too():
    rng = np.random.default_rng(1)
    tables = [simulated(rng, (0.7, 2.0), SHAPE) for _ in range(30)]
    means = {size: np.mean([table[size].mean(axis=0) for table in tables], axis=0) for size in SHAPE.sizes}
    assert means[None][1] > means[None][0] + 0.1
    assert means[None][0] > means[5][0]


@pytest.mark.parametrize(("accuracy", "n_classes"), [(0.7, 2), (0.95, 2), (0.6, 10)])
def test_the_shift_makes_heads_as_good_as_asked(accuracy, n_classes):
    shape = Shape(counts=(600,) * n_classes, repetitions=1)
    found = simulated(np.random.default_rng(2), [shift_of(accuracy, n_classes)] * 4, shape)
    assert found[None].mean() == pytest.approx(accuracy, abs=0.02)


def test_two_classes_have_a_closed_form():
    from scipy.stats import norm

    assert norm.cdf(shift_of(0.9, 2) / 2**0.5) == pytest.approx(0.9, abs=1e-4)
    assert shift_of(0.2, 2) == pytest.approx(shift_of(0.505, 2))
