"""What a feature cache gives its readers: rows of features with their labels and paths, and where they come from."""

from __future__ import annotations

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
    """A feature cache on the disk that has been verified, without its rows.

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

    def __str__(self) -> str:
        splits = ", ".join(f"{name} {shape}" for name, shape in sorted(self.shapes.items()))
        views = f", {self.provenance.views.count} views" if self.provenance.views else ""
        layer = f" of {self.provenance.layer.name}" if self.provenance.layer else ""
        return (
            f"{self.path}: {splits} {self.provenance.dtype}{layer}{views}, classes {', '.join(self.provenance.classes)}"
        )


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A whole feature cache in memory.

    Attributes:
        path, provenance, content_sha256, known_as: As those of :class:`FeatureFile`.
        splits: The rows, by split.
    """

    path: Path
    provenance: Provenance
    content_sha256: str
    known_as: tuple[str, ...] = ()
    splits: dict[str, Split] = field(repr=False)

    def matches(self, content_sha256: str) -> bool:
        """Whether a recorded fingerprint is that of this content; also one that an earlier version recorded."""
        return content_sha256 in (self.content_sha256, *self.known_as)

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
