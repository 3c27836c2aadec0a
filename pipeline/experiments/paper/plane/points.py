"""Points in the plane: the generated data of the dressed circuit's own experiments.

Out: 2,000 training and 200 test points of two classes, standardised, in one array for each seed.

Source: Mari et al., arXiv:1912.08278, section 5.1, and the notebooks published with it, whose recipes these are; the
points themselves are drawn anew for every seed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

N_TRAIN, N_TEST = 2000, 200


def two_spirals(rng: np.random.Generator, n: int, turns: float) -> tuple[np.ndarray, np.ndarray]:
    """Two arms wound about each other, each point off its arm by up to 0.7 in either direction: (n, 2) and (n,)."""
    labels = np.arange(n) % 2
    radius = np.sqrt(rng.uniform(size=n)) * turns * 2 * np.pi
    arm = np.stack([-np.cos(radius), np.sin(radius)], axis=1) * radius[:, None] + rng.uniform(0, 0.7, (n, 2))
    return np.where(labels[:, None] == 0, arm, -arm), labels


def square(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A square of half side 1.2 within one of half side 2; after the labels are given, points move by up to 0.1."""
    points = rng.uniform(-2, 2, (n, 2))
    labels = (np.abs(points).max(axis=1) > 1.2).astype(np.int64)
    return points + rng.uniform(-0.1, 0.1, (n, 2)), labels


def moons(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two half moons that reach into each other, with Gaussian noise of 0.2."""
    from sklearn.datasets import make_moons

    return make_moons(n, noise=0.2, random_state=int(rng.integers(2**31)))


RECIPES: dict[str, Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]] = {
    "spirals-1.52": partial(two_spirals, turns=1.52),
    "spirals-2": partial(two_spirals, turns=2.0),
    "square": square,
    "moons": moons,
}


def draw(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (2200, 2), float32, with mean 0 and spread 1 over the first 2000, which are for training; labels (2200,),
    int64."""
    rng = np.random.default_rng([seed, list(RECIPES).index(name)])
    points, labels = RECIPES[name](rng, N_TRAIN + N_TEST)
    order = rng.permutation(len(points))
    points, labels = points[order], labels[order]
    points = (points - points[:N_TRAIN].mean(axis=0)) / points[:N_TRAIN].std(axis=0)
    return points.astype(np.float32), labels.astype(np.int64)
