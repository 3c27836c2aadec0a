"""A small cache to write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import synthetic_provenance

from features.cache.writer import FeatureWriter


def write(file: Path, rows: int = 6, **changes: str) -> None:
    """A small cache of ``rows`` training rows and 2 validation rows, 512 wide."""
    paths = {"train": tuple(f"train/{row}.png" for row in range(rows)), "val": ("val/ä.png", "val/b.png")}
    labels = {"train": tuple(row % 2 for row in range(rows)), "val": (0, 1)}
    values = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    with FeatureWriter(file, paths, labels, 512) as writer:
        for start in range(0, rows, 16):
            writer.write("train", start, values[start : start + 16])
        writer.write("val", 0, values[:2])
        writer.finish(replace(synthetic_provenance(), **changes))
