"""A feature cache of two separable classes of any names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import synthetic_provenance

from features.cache.writer import FeatureWriter


def write_pair(path: Path, classes: tuple[str, str], seed: int = 0) -> Path:
    """Write 40 + 20 rows, 512 wide, as stage 1 would leave them for images of these two classes."""
    rng = np.random.default_rng(seed)
    labels = {"train": (0, 1) * 20, "val": (0, 1) * 10}
    paths = {split: tuple(f"{split}/{row}.png" for row in range(len(rows))) for split, rows in labels.items()}
    centre = rng.normal(0, 1, 512)
    with FeatureWriter(path, paths, labels, 512) as writer:
        for split, rows in labels.items():
            signs = 2 * np.array(rows)[:, None] - 1
            writer.write(split, 0, (signs * centre + rng.normal(0, 0.5, (len(rows), 512))).astype(np.float32))
        writer.finish(replace(synthetic_provenance(), classes=classes))
    return path
