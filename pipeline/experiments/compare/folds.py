"""Which images each training of a comparison learns from, and which it is judged on.

In: a feature cache, a seed. Out: the trials of that seed: one a fold of a stratified k-fold partition of all images,
and one on the published train/val split; or, of a smaller size, one a fold that learns from a few images a class. No
choice that a head makes sees the images it is judged on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.cache.featureset import FeatureSet
from features.util.errors import InputError

INNER_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All images of a cache as one set.

    Attributes:
        features: Shape (N, D), float32: the training split, then the validation split.
        labels: Shape (N,), int64.
        n_published: How many of them are the published training split.
        classes: Names of the classes.
        noun: What they are, in messages: images, or rows that were imported.
    """

    features: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    n_published: int
    classes: tuple[str, ...]
    noun: str = "images"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a head.

    Attributes:
        seed: Of the partition, of the initial weights and of the order of the samples.
        fold: Number of the fold, from 0; None for the published split.
        size: Images a class that it may learn from; None for all of the fold's.
        train: Rows of the pool that the head learns from.
        inner: Rows that its epoch is chosen on, taken from the training rows; none where the last epoch is taken.
        test: Rows that it is judged on.
    """

    seed: int
    fold: int | None
    size: int | None = None
    train: np.ndarray
    inner: np.ndarray
    test: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many rows of each kind: trials of equal sizes can be trained side by side."""
        return len(self.train), len(self.inner), len(self.test)


def pooled(features: FeatureSet) -> Pool:
    """Training and validation split of a cache together."""
    return Pool(
        features=np.concatenate([features.train.features, features.val.features]),
        labels=np.concatenate([features.train.labels, features.val.labels]),
        n_published=len(features.train.labels),
        classes=features.provenance.classes,
        noun=features.provenance.noun,
    )


def refuse_few(pool: Pool, folds: int, sizes: Sequence[int] = ()) -> None:
    """Raise an InputError where a class has too few images for the folds, a size, or the published split."""
    problems = []
    # So that a class has 2 images in every fold, 5 to learn from, and of these 1 for the inner split.
    needed = max(2 * folds, 10)
    for label, name in enumerate(pool.classes):
        count = int((pool.labels == label).sum())
        if count < needed:
            problems.append(f"class {name} has {count} {pool.noun}, --folds {folds} needs {needed}")
        learned = count - math.ceil(count / folds)
        if sizes and max(sizes) > learned:
            problems.append(
                f"class {name} has {learned} {pool.noun} to learn from beside a fold, --train-sizes {max(sizes)} "
                "needs as many"
            )
        published = int((pool.labels[: pool.n_published] == label).sum())
        if published < 5:
            problems.append(f"class {name} has {published} {pool.noun} in the training split, 5 are needed")
    if problems:
        raise InputError(
            f"these features can't be compared on: {'; '.join(problems)}; take fewer folds or more {pool.noun}, or "
            "leave such classes out"
        )


def trials(pool: Pool, seed: int, folds: int, with_inner: bool, size: int | None = None) -> list[Trial]:
    """The folds of one seed's partition, then the published split; of a size, the folds alone.

    Of each fold a smaller size is part of every larger one: differences between sizes are not those between draws.
    """
    from sklearn.model_selection import StratifiedKFold

    partition = StratifiedKFold(folds, shuffle=True, random_state=seed).split(pool.labels, pool.labels)
    splits: list[tuple[int | None, Any, Any]] = [(fold, *rows) for fold, rows in enumerate(partition)]
    if size is None:
        everything = np.arange(len(pool.labels))
        splits.append((None, everything[: pool.n_published], everything[pool.n_published :]))
    else:
        splits = [(fold, _few(train, pool.labels, size, (seed, fold)), test) for fold, train, test in splits]
    found = []
    for fold, train, test in splits:
        inner = train[:0]
        if with_inner:
            train, inner = _halves(train, pool.labels[train], seed)
        found.append(Trial(seed=seed, fold=fold, size=size, train=train, inner=inner, test=test))
    return found


def _few(rows: np.ndarray, labels: np.ndarray, size: int, drawn_by: Any) -> np.ndarray:
    """The first ``size`` rows of each class in an order that does not depend on ``size``."""
    order = np.random.default_rng(drawn_by).permutation(rows)
    classes = np.unique(labels[rows])
    return np.sort(np.concatenate([order[labels[order] == label][:size] for label in classes]))


def _halves(rows: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    train, inner = train_test_split(rows, test_size=INNER_SHARE, stratify=labels, random_state=seed)
    return train, inner
