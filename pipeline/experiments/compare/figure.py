"""The picture of a comparison: accuracies with their intervals, and the differences to the reference.

In: :class:`pipeline.experiments.compare.record.Comparison` and every training. Out: a PNG file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from pipeline.experiments.compare.conclusion import is_real
from pipeline.experiments.compare.record import K_FOLD, PUBLISHED, Comparison, HeadFigures, TrialResult
from pipeline.experiments.compare.results import Trainings
from pipeline.experiments.statistics import Estimate
from pipeline.util.drawing import BLUE, ORANGE, save_png


def draw(comparison: Comparison, found: Trainings, file: Path) -> None:
    """Draw a row a head: left its accuracy, right how it differs from the reference."""
    plt.switch_backend("agg")
    heads = list(comparison.figures[K_FOLD])
    size = (11, 1.9 + 0.48 * len(heads))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    _accuracies(left, comparison, found, heads)
    _differences(right, comparison.figures[K_FOLD], heads)
    config = comparison.config
    left.set_yticks(range(len(heads)), heads)
    left.invert_yaxis()
    left.set_xlabel("accuracy, %")
    right.set_xlabel(f"difference to {config.reference}, points")
    for axis in (left, right):
        axis.grid(axis="x", alpha=0.3)
        handles, labels = axis.get_legend_handles_labels()
        axis.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1, frameon=False)
    figure.suptitle(
        f"{config.seeds} × {config.folds}-fold cross-validation, {comparison.size}, "
        + ("epoch chosen on an inner split" if config.early_stopping else "last epoch")
    )
    save_png(figure, file, dpi=120)


def _accuracies(axis: Axes, comparison: Comparison, found: Trainings, heads: Sequence[str]) -> None:
    jitter = np.random.default_rng(0)
    for place, head in enumerate(heads):
        means = _repetitions(found[head])
        heights = place + jitter.uniform(-0.16, 0.16, len(means))
        axis.plot(100 * means, heights, ".", color="grey", alpha=0.45, markersize=4, label=_once("a repetition", place))
        accuracy = comparison.figures[K_FOLD][head].accuracy
        _bar(axis, accuracy, place, color=BLUE, marker="o", label=_once("mean, 95 % interval", place))
        published = 100 * comparison.figures[PUBLISHED][head].accuracy.mean
        axis.plot(published, place, "D", color=ORANGE, markersize=5, label=_once("published split, mean", place))
        flattered = 100 * comparison.figures[PUBLISHED][head].best_on_test
        axis.plot(
            flattered,
            place,
            "D",
            color=ORANGE,
            markerfacecolor="none",
            markersize=5,
            label=_once(f"published split, best epoch on the test {comparison.noun} (flattered)", place),
        )


def _differences(axis: Axes, found: Mapping[str, HeadFigures], heads: Sequence[str]) -> None:
    axis.axvline(0, color="black", linewidth=1)
    seen: set[str] = set()
    for place, head in enumerate(heads):
        row = found[head]
        if row.difference is None:
            continue
        real = is_real(row)
        label = f"mean, 95 % interval: {'differs' if real else 'could be chance'} (5 %, Holm)"
        _bar(
            axis,
            row.difference,
            place,
            color=ORANGE if real else BLUE,
            marker="s" if real else "o",
            label=label if label not in seen else None,
        )
        seen.add(label)
        visible = row.smallest_visible
        if visible is not None:
            label = "differences that this design would often miss"
            ends = (-100 * visible, 100 * visible)
            axis.plot(
                ends,
                (place, place),
                color="grey",
                alpha=0.25,
                linewidth=13,
                solid_capstyle="butt",
                zorder=0,
                label=label if label not in seen else None,
            )
            seen.add(label)


def _bar(axis: Axes, found: Estimate, place: int, **style: Any) -> None:
    mean = 100 * found.mean
    bounded = found.low is not None and found.high is not None
    spread = [[mean - 100 * found.low], [100 * found.high - mean]] if bounded else None  # type: ignore[operator]
    axis.errorbar([mean], [place], xerr=spread, capsize=4, linewidth=2, markersize=6, **style)


def _repetitions(own: Sequence[TrialResult]) -> np.ndarray:
    """Mean accuracy over the folds of each repetition."""
    folds = [each for each in own if each.design == K_FOLD]
    seeds = sorted({each.seed for each in folds})
    return np.array([np.mean([each.accuracy for each in folds if each.seed == seed]) for seed in seeds])


def _once(label: str, place: int) -> str | None:
    """One entry in the legend for all rows."""
    return label if place == 0 else None
