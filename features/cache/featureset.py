"""What a feature cache holds: rows of features with their labels and paths, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the features of a file come from.

    Attributes:
        classes: Class names; a label is an index into them.
        backbone: Architecture of the frozen network.
        weights: Name of its weights.
        weights_sha256: Fingerprint of its tensors.
        transform: Canonical JSON of the preprocessing.
        data: Name of the data set.
        images_sha256: Fingerprint over ordered relative paths and file contents.
        data_location: Where the images were: a name, or a path; a relative one starts at this file's folder.
        weights_location: The same for the weights.
        versions: Versions of the libraries that made the features.
        created: UTC time, ISO 8601.
        note: Free text of the maker.
        selection: What chose the images among those at ``data_location``: a split, classes, a limit; {} for all.
        dtype: How a feature is stored, ``float32`` or ``float16``. In memory it is always float32.
        runtime: What computed the features: library, version, device, precision; {} where that was not recorded.
        views: ``count`` and ``seed`` of the augmented views of each training image; {} for none.
        skipped: Images that were left out as unreadable, each with the reason.
        shard: {} for a whole data set; else ``index`` and ``of``: which of how many files that make one.
    """

    classes: tuple[str, ...]
    backbone: str
    weights: str
    weights_sha256: str
    transform: str
    data: str
    images_sha256: str
    data_location: str
    weights_location: str
    versions: dict[str, str]
    created: str
    note: str = ""
    selection: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    runtime: dict[str, Any] = field(default_factory=dict)
    views: dict[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    shard: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split's rows.

    Attributes:
        features: Array of shape (N, D), float32.
        labels: Array of shape (N,), int64.
        paths: N relative paths.
        digests: SHA-256 of each image, shape (N, 32), uint8; None where not recorded.
        views: Features of V augmented views of each image, shape (N, V, D), float32; None where there are none.
    """

    features: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]
    digests: np.ndarray | None = None
    views: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """A feature cache on the disk that has been verified, without its rows.

    Attributes:
        path: The file; with a ``*`` in its name, the shards that make one data set.
        provenance: Where it comes from.
        content_sha256: Fingerprint over everything in it.
        rows_sha256: Fingerprint over its rows alone: equal for equal data, whenever and in whatever pieces it was made.
        shapes: For each split, the shape (N, D) of its features.
    """

    path: Path
    provenance: Provenance
    content_sha256: str
    rows_sha256: str
    shapes: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {shape}" for name, shape in sorted(self.shapes.items()))
        views = f", {self.provenance.views['count']} views" if self.provenance.views else ""
        return f"{self.path}: {splits} {self.provenance.dtype}{views}, classes {', '.join(self.provenance.classes)}"


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A whole feature cache in memory."""

    path: Path
    provenance: Provenance
    content_sha256: str
    splits: dict[str, Split] = field(repr=False)

    @property
    def train(self) -> Split:
        """The training split."""
        return self.splits["train"]

    @property
    def val(self) -> Split:
        """The validation split."""
        return self.splits["val"]

    @property
    def width(self) -> int:
        """Features an image."""
        return int(self.train.features.shape[1])
