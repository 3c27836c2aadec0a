"""The figures of an evaluation, as ``report.json`` holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.devices.results import DeviceResults
from pipeline.util.metrics import Estimate, Metrics

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EpochMetrics(Metrics):
    """The head of one epoch, numbered from 1.

    Attributes:
        scores: The metrics of :data:`pipeline.util.metrics.METRICS` by name; empty in reports of earlier versions.
    """

    epoch: int
    scores: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """The last epoch's head, and that of the epoch with the highest validation accuracy."""

    last: EpochMetrics
    best: EpochMetrics


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Whether the whole network on the images agrees with the head on the cached features.

    Attributes:
        max_difference: The largest difference of logits.
        tolerance: The largest difference that still counts as rounding.
        images: How many were compared.
        holds: Whether the difference is within the tolerance.
    """

    max_difference: float
    tolerance: float
    images: int
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Seconds of each part; None if it did not run."""

    training: float
    images_end_to_end: float | None
    evaluation: float


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """All figures of an evaluation.

    Attributes:
        created: UTC time, ISO 8601.
        run: The run folder.
        classes: Class names, in the order of the logits.
        source: Whether the figures are from the ``images`` themselves or from the cached ``features``.
        not_run: One sentence for each missing input (images, backbone); empty if the whole network was run.
        epochs: Metrics of both heads.
        parity: None where it was not judged.
        devices: Results of the head on a PennyLane device, if requested.
        seconds: Times.
        head: The kind of head.
        parameters: Trained parameters of the head.
        features: Where its features came from, as ``run.json`` holds it.
        versions: Libraries.
    """

    format_version: int = FORMAT_VERSION
    created: str
    run: str
    classes: list[str]
    source: Literal["images", "features"]
    not_run: list[str]
    epochs: Epochs
    parity: Parity | None
    devices: DeviceResults | None
    seconds: Seconds
    head: str
    parameters: int
    features: dict[str, Any]
    versions: dict[str, str]
