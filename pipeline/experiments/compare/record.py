"""The record of a comparison: its trainings, and the figures that ``compare.json`` holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.statistics import Estimate

FORMAT_VERSION = 1
K_FOLD, PUBLISHED = DESIGNS = ("k-fold", "published")


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One training of a head, and how the head is judged.

    Attributes:
        seed: Of the partition, of the initial weights and of the order of the samples.
        fold: Number of the fold, from 0; None for the published split.
        n_train: Images that the head learned from.
        n_inner: Images that its epoch was chosen on.
        n_test: Images that it is judged on.
        epoch: The epoch that is judged, from 1.
        accuracy: Of this epoch on the test images.
        loss: Of this epoch: mean cross-entropy on the test images.
        best_epoch: The epoch that is best on the test images.
        best_accuracy: Its accuracy on them, which is flattered.
    """

    seed: int
    fold: int | None
    n_train: int
    n_inner: int
    n_test: int
    epoch: int
    accuracy: float
    loss: float
    best_epoch: int
    best_accuracy: float

    @property
    def design(self) -> str:
        """Whether it is one of the k folds, or on the published split."""
        return PUBLISHED if self.fold is None else K_FOLD


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """The trainings of a block: one kind of head from a few seeds.

    Attributes:
        head: The kind of head.
        seeds: The seeds.
        trainings: In the order of seeds and folds, the published split last.
        seconds: Wall time of all of it.
        cpu_seconds: Processor time of all of it.
    """

    head: str
    seeds: list[int]
    trainings: list[TrialResult]
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class HeadFigures:
    """A head in one design.

    Attributes:
        accuracy: Over all trainings.
        best_on_test: Mean over trainings of the highest accuracy that any epoch had on the test images.
        difference: To the reference, paired by seed and fold; None for the reference itself.
        p_holm: The difference's p-value, raised for the number of heads.
        smallest_visible: The smallest true difference that would be found four times in five.
    """

    accuracy: Estimate
    best_on_test: float
    difference: Estimate | None
    p_holm: float | None
    smallest_visible: float | None


@dataclass(frozen=True, kw_only=True)
class HeadCost:
    """What a head is made of, and what a training of it costs on one core."""

    parameters: int
    made_of: str
    cpu_seconds_a_training: float


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """Images of the published split."""

    train: int
    val: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``compare.json`` holds.

    Attributes:
        created: UTC time, ISO 8601.
        config: The flags.
        images: Their number.
        published: How many of them are in each part of the published split.
        heads: Size and cost of each head.
        figures: ``figures[design][head]``, in the order of ``--heads``.
        cpu_seconds: Processor time of all trainings.
        features: Where the features came from.
        versions: Libraries.
        seconds: Wall time of what was trained now.
        conclusion: In a sentence.
    """

    format_version: int = FORMAT_VERSION
    created: str
    config: CompareConfig
    images: int
    published: SplitSizes
    heads: dict[str, HeadCost] = field(default_factory=dict)
    figures: dict[str, dict[str, HeadFigures]]
    cpu_seconds: float = 0.0
    features: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    conclusion: str = ""

    @property
    def noun(self) -> str:
        """What was classified, in texts: images, or rows that were imported."""
        return "rows" if self.features.get("backbone") == "" else "images"

    @property
    def size(self) -> str:
        """How many: ``397 images``."""
        return f"{self.images} {self.noun}"
