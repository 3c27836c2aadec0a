"""What a feature cache gives its readers: rows of features with their labels and paths, and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from features.cache.records import Provenance


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
    """A feature cache on the disk that has been verified; without its rows, which may be more than memory.

    Attributes:
        path: The file; with a ``*`` in its name, the shards that make one data set.
        provenance: Where it comes from.
        content_sha256: Its identity: a fingerprint over rows, labels, classes and paths. Equal for equal content,
            whenever, wherever and in whatever pieces it was made.
        known_as: Fingerprints under which earlier versions of this program recorded the same content.
        shapes: For each split, the shape (N, D) of its features.
    """

    path: Path
    provenance: Provenance
    content_sha256: str
    known_as: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, int]]

    def matches(self, content_sha256: str) -> bool:
        """Whether a recorded fingerprint is that of this content; also one that an earlier version recorded."""
        return content_sha256 in (self.content_sha256, *self.known_as)

    @property
    def width(self) -> int:
        """Features an image."""
        return self.shapes["train"][1]

    def memory(self, split: str) -> int:
        """Bytes that the features of a split take in memory, as float32; its views too."""
        views = self.provenance.views.count if self.provenance.views and split == "train" else 0
        return 4 * math.prod(self.shapes[split]) * (1 + views)

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {shape}" for name, shape in sorted(self.shapes.items()))
        views = f", {self.provenance.views.count} views" if self.provenance.views else ""
        layer = f" of {self.provenance.layer.name}" if self.provenance.layer else ""
        return (
            f"{self.path}: {splits} {self.provenance.dtype}{layer}{views}, classes {', '.join(self.provenance.classes)}"
        )


@dataclass(frozen=True, kw_only=True)
class FeatureSet(FeatureFile):
    """A feature cache with rows of it in memory.

    Attributes:
        splits: The rows, by split.
    """

    splits: dict[str, Split] = field(repr=False)

    @property
    def train(self) -> Split:
        """The training split."""
        return self.splits["train"]

    @property
    def val(self) -> Split:
        """The validation split."""
        return self.splits["val"]
