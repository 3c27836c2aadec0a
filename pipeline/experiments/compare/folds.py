"""Which images each training of a comparison learns from, and which it is judged on.

In: a feature cache, a seed. Out: the trials of that seed: one a fold of a stratified k-fold partition of all images,
and one on the published train/val split. No choice that a head makes sees the images it is judged on.
"""

from __future__ import annotations

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
        train: Rows of the pool that the head learns from.
        inner: Rows that its epoch is chosen on, taken from the training rows; none where the last epoch is taken.
        test: Rows that it is judged on.
    """

    seed: int
    fold: int | None
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


def refuse_few(pool: Pool, folds: int) -> None:
    """Raise an InputError where a class has too few images for so many folds, or for the published split."""
    problems = []
    # So that a class has 2 images in every fold, 5 to learn from, and of these 1 for the inner split.
    needed = max(2 * folds, 10)
    for label, name in enumerate(pool.classes):
        count = int((pool.labels == label).sum())
        if count < needed:
            problems.append(f"class {name} has {count} {pool.noun}, --folds {folds} needs {needed}")
        published = int((pool.labels[: pool.n_published] == label).sum())
        if published < 5:
            problems.append(f"class {name} has {published} {pool.noun} in the training split, 5 are needed")
    if problems:
        raise InputError(
            f"these features can't be compared on: {'; '.join(problems)}; take fewer folds or more {pool.noun}"
        )


def trials(pool: Pool, seed: int, folds: int, with_inner: bool) -> list[Trial]:
    """The folds of one seed's partition, then the published split."""
    from sklearn.model_selection import StratifiedKFold

    partition = StratifiedKFold(folds, shuffle=True, random_state=seed).split(pool.labels, pool.labels)
    splits: list[tuple[int | None, Any, Any]] = [(fold, *rows) for fold, rows in enumerate(partition)]
    everything = np.arange(len(pool.labels))
    splits.append((None, everything[: pool.n_published], everything[pool.n_published :]))
    found = []
    for fold, train, test in splits:
        inner = train[:0]
        if with_inner:
            train, inner = _halves(train, pool.labels[train], seed)
        found.append(Trial(seed=seed, fold=fold, train=train, inner=inner, test=test))
    return found


def _halves(rows: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    train, inner = train_test_split(rows, test_size=INNER_SHARE, stratify=labels, random_state=seed)
    return train, inner
