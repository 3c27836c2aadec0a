import numpy as np
import pytest

from pipeline.experiments.paper.plane.points import N_TEST, N_TRAIN, RECIPES, draw, moons, square, two_spirals


@pytest.mark.parametrize("name", RECIPES)
def test_points_are_standardised_balanced_and_follow_from_the_seed(name):
    points, labels = draw(name, seed=7)
    assert points.shape == (N_TRAIN + N_TEST, 2)
    assert points.dtype == np.float32
    assert labels.dtype == np.int64
    assert np.allclose(points[:N_TRAIN].mean(axis=0), 0, atol=1e-5)
    assert np.allclose(points[:N_TRAIN].std(axis=0), 1, atol=1e-5)
    assert 0.3 < labels.mean() < 0.7
    assert np.array_equal(points, draw(name, seed=7)[0])
    assert not np.array_equal(points, draw(name, seed=8)[0])


@pytest.mark.parametrize("turns", [1.52, 2.0])
def test_every_point_of_a_spiral_is_near_its_arm(turns):
    points, labels = two_spirals(np.random.default_rng(0), 500, turns)
    radius = np.linspace(0, turns * 2 * np.pi, 4000)
    arm = np.stack([-np.cos(radius), np.sin(radius)], axis=1) * radius[:, None]
    # Class 1 is class 0 turned by half a turn; noise moves each coordinate of class 0 by 0 to 0.7.
    away = np.where(labels[:, None] == 0, points, -points)[:, None] - arm
    assert np.linalg.norm(away, axis=2).min(axis=1).max() < 0.7 * np.sqrt(2) + 0.01
    assert np.linalg.norm(points, axis=1).max() > 0.9 * turns * 2 * np.pi


def test_the_square_is_where_it_should_be():
    points, labels = square(np.random.default_rng(0), 2000)
    reach = np.abs(points).max(axis=1)
    assert (labels[reach < 1.1] == 0).all()
    assert (labels[reach > 1.3] == 1).all()


def test_moons_are_as_many_of_each():
    assert moons(np.random.default_rng(0), 200)[1].sum() == 100
