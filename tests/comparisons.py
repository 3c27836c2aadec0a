"""A small comparison of three heads."""

from __future__ import annotations

from pathlib import Path

from conftest import write_feature_file

from pipeline.experiments.compare.config import CompareConfig


def small_comparison(folder: Path) -> CompareConfig:
    """Its flags. Two classes overlap in its features, so that heads differ in accuracy."""
    return CompareConfig(
        features=write_feature_file(folder / "hard.h5", separation=0.04),
        out=folder / "compare",
        seeds=2,
        folds=3,
        epochs=3,
        batch=5,
        lr=0.003,
        lr_step=2,
        seed=7,
        heads=("quantum", "classical", "logistic"),
        workers=1,
    )
