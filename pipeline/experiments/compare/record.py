"""The record of a comparison: its trainings, and the figures that ``compare.json`` holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.statistics import Estimate

FORMAT_VERSION = 2
BLOCK_VERSION = 1
"""Of the blocks, which outlive changes of the tables that are made of them."""
K_FOLD, PUBLISHED, OVER_SIZES = "k-fold", "published", "over sizes"


def design_of_size(size: int | None) -> str:
    """The k-fold design whose heads learn from so many rows a class; of None, from all."""
    return K_FOLD if size is None else f"{size} a class"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One training of a head, and how the head is judged.

    Attributes:
        seed: Of the partition, of the initial weights and of the order of the samples.
        fold: Number of the fold, from 0; None for the published split.
        size: Images a class that it could learn from; None for all.
        n_train: Images that the head learned from.
        n_inner: Images that its epoch was chosen on.
        n_test: Images that it is judged on.
        epoch: The epoch that is judged, from 1.
        accuracy: Of this epoch on the test images.
        loss: Of this epoch: mean cross-entropy on the test images.
        best_epoch: The epoch that is best on the test images.
        best_accuracy: Its accuracy on them, which is flattered.
        metrics: Of the judged epoch on the test images, by name; None where a metric has no value.
        ablations: Accuracy on them without a part of the circuit, by its name; None where it can't be taken away, and
            empty where none was.
    """

    seed: int
    fold: int | None
    size: int | None = None
    n_train: int
    n_inner: int
    n_test: int
    epoch: int
    accuracy: float
    loss: float
    best_epoch: int
    best_accuracy: float
    metrics: dict[str, float | None] = field(default_factory=dict)
    ablations: dict[str, float | None] = field(default_factory=dict)

    @property
    def design(self) -> str:
        """Whether it is one of the k folds, of which size, or on the published split."""
        return PUBLISHED if self.fold is None else design_of_size(self.size)

    def value(self, metric: str) -> float | None:
        """What a metric says of it."""
        return self.accuracy if metric == "accuracy" else self.metrics.get(metric)


@dataclass(frozen=True, kw_only=True)
class BlockResult:
    """The trainings of a block: one kind of head from a few seeds, of one size.

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
        value: The metric over all trainings.
        best_on_test: Mean over trainings of the highest accuracy that any epoch had on the test images; None of a mean
            over sizes.
        difference: To the reference, paired by seed and fold; None for the reference itself.
        p_holm: The difference's p-value, raised for the number of heads, sizes and data sets.
        smallest_visible: The smallest true difference that would be found four times in five.
    """

    value: Estimate
    best_on_test: float | None
    difference: Estimate | None
    p_holm: float | None
    smallest_visible: float | None


@dataclass(frozen=True, kw_only=True)
class PartFigures:
    """Trained heads without a part of their circuit, in cross-validation.

    Attributes:
        accuracy: In the mean.
        cost: By how much less accurate they are than with it.
    """

    accuracy: float
    cost: Estimate


@dataclass(frozen=True, kw_only=True)
class HeadCost:
    """What a head is made of, and what a training of it costs on one core.

    Attributes:
        parameters: How many training changes, without those of a circuit that never get a gradient; 0 where they come
            with the rows.
        idle: How many never get one; None where that is not known.
        made_of: Its layers.
        cpu_seconds_a_training: On one core.
    """

    parameters: int
    idle: int | None = 0
    made_of: str
    cpu_seconds_a_training: float


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """Images of the published split."""

    train: int
    val: int


@dataclass(frozen=True, kw_only=True)
class SetFigures:
    """One data set of a comparison.

    Attributes:
        images: Their number.
        n_classes: The number of classes.
        published: How many of them are in each part of the published split.
        most_frequent: Share of the most frequent class; None where it is not known.
        repeated: Images whose features are those of one before them.
        features: Where the features came from.
        heads: Size and cost of each head.
        figures: ``figures[design][head]``: k-fold on all images, each smaller size, the mean over sizes where there are
            several, and the published split; heads in the order of ``--heads``.
        parts: ``parts[head][part]``: what a part of a trained circuit is worth, with ``--ablations``.
    """

    images: int
    n_classes: int = 2
    published: SplitSizes
    most_frequent: float | None = None
    repeated: int = 0
    features: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, HeadCost] = field(default_factory=dict)
    figures: dict[str, dict[str, HeadFigures]]
    parts: dict[str, dict[str, PartFigures]] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What was classified, in texts: images, or rows that were imported."""
        return "rows" if self.features.get("backbone") == "" else "images"

    @property
    def split(self) -> str:
        """What the cache's own split is called in texts: published, unless rows were imported or it was drawn here."""
        own = self.noun == "rows" or self.features.get("selection", {}).get("split") is not None
        return "train/val split" if own else "published split"

    @property
    def size(self) -> str:
        """How many: ``397 images``."""
        return f"{self.images:,} {self.noun}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What ``compare.json`` holds.

    Attributes:
        created: UTC time, ISO 8601.
        config: The flags.
        sets: Each data set by name, that of ``--features`` first.
        cpu_seconds: Processor time of all trainings.
        versions: Libraries.
        seconds: Wall time of what was trained now.
        conclusion: In a sentence.
    """

    format_version: int = FORMAT_VERSION
    created: str
    config: CompareConfig
    sets: dict[str, SetFigures]
    cpu_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    conclusion: str = ""

    @property
    def first(self) -> SetFigures:
        """The data set of ``--features``."""
        return next(iter(self.sets.values()))
