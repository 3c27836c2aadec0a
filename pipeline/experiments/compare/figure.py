"""The pictures of a comparison: values with their intervals, differences to the reference, and learning curves.

In: :class:`pipeline.experiments.compare.record.Comparison` and every training. Out: drawings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from pipeline.experiments.compare.conclusion import is_real, main_head
from pipeline.experiments.compare.record import (
    K_FOLD,
    PUBLISHED,
    Comparison,
    HeadFigures,
    SetFigures,
    TrialResult,
    design_of_size,
)
from pipeline.experiments.compare.results import Trainings
from pipeline.experiments.compare.words import Unit
from pipeline.experiments.statistics import Estimate
from pipeline.util.drawing import BLUE, INK, MUTED, ORANGE, SERIES, Drawing, legend_below


def draw(comparison: Comparison, found: Mapping[str, Trainings]) -> dict[str, Drawing]:
    """The drawings by name, to be made inside ``drawing.style()``."""
    drawings = {"compare": _comparison(comparison, found)}
    if comparison.config.sizes:
        drawings["curves"] = _curves(comparison)
    return drawings


def _comparison(comparison: Comparison, found: Mapping[str, Trainings]) -> Drawing:
    """A row a head and data set: left its values, right how it differs from the reference."""
    unit, config = Unit(comparison.config.metric), comparison.config
    rows = [(name, head) for name, each in comparison.sets.items() for head in each.figures[K_FOLD]]
    size = (11, 3.4 + 0.42 * len(rows))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained")
    for place, (name, head) in enumerate(rows):
        _values(left, comparison.sets[name], found[name][head], head, place, config.metric)
        _difference(right, comparison.sets[name].figures[K_FOLD][head], place, unit)
    right.axvline(0, color=INK, linewidth=1)
    one = len(comparison.sets) == 1
    for axis in (left, right):
        axis.set_yticks(range(len(rows)), [head if one else f"{head}, {name}" for name, head in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
    found_differences = [
        each.difference
        for of_set in comparison.sets.values()
        for each in of_set.figures[K_FOLD].values()
        if each.difference is not None
    ]
    right.set_xlim(*reach(found_differences, unit.scale))
    legend_below(figure)
    left.set_xlabel(unit.of_values)
    right.set_xlabel(f"difference to {config.reference}, {unit.of_differences}")
    main = main_head(comparison)
    words = [
        f"{name}: {main} {unit.value(each.figures[K_FOLD][main].value.mean)}, {config.reference} "
        f"{unit.value(each.figures[K_FOLD][config.reference].value.mean)}"
        for name, each in comparison.sets.items()
    ]
    return Drawing(
        figure,
        f"A row a head: its {unit.label} with the 95 % interval, and its difference to {config.reference}. "
        f"{'; '.join(words)}. The table has all of them.",
        keeps_height=True,
    )


def reach(differences: Sequence[Estimate], scale: float, others: Sequence[float] = ()) -> tuple[float, float]:
    """The ends of an axis on which all intervals are seen: what a small study would miss may reach far beyond."""
    ends = [end for each in differences for end in (each.mean, each.low, each.high) if end is not None]
    least, most = min([0.0, *ends, *others]), max([0.0, *ends, *others])
    margin = 0.08 * (most - least) or 0.01
    return scale * (least - margin), scale * (most + margin)


def _values(axis: Axes, found: SetFigures, own: Sequence[TrialResult], head: str, place: int, metric: str) -> None:
    unit = Unit(metric)
    means = _repetitions(own, metric)
    # Spread so that equal ones are seen, in the same way each time.
    heights = place + np.random.default_rng(place).uniform(-0.16, 0.16, len(means))
    axis.plot(unit.scale * means, heights, ".", color=MUTED, alpha=0.45, markersize=4, label="a repetition")
    row, split = (found.figures[design][head] for design in (K_FOLD, PUBLISHED))
    draw_interval(axis, row.value, place, unit, color=BLUE, marker="o", label="mean, 95 % interval")
    diamond: Any = {"linestyle": "", "marker": "D", "color": ORANGE, "markersize": 5}
    axis.plot(unit.scale * split.value.mean, place, **diamond, label=f"{found.split}, mean")
    if metric == "accuracy" and split.best_on_test is not None:
        label = f"{found.split}, epoch that is best on the test (flattered)"
        axis.plot(100 * split.best_on_test, place, **diamond, markerfacecolor="none", label=label)


def _difference(axis: Axes, row: HeadFigures, place: int, unit: Unit) -> None:
    if row.difference is None:
        return
    real = is_real(row)
    if row.smallest_visible is not None:
        draw_missed(axis, row.smallest_visible, place, unit, label="differences that this design would often miss")
    label = f"mean, 95 % interval: {'differs' if real else 'could be chance'} (5 %, Holm)"
    draw_interval(
        axis, row.difference, place, unit, color=ORANGE if real else BLUE, marker="s" if real else "o", label=label
    )


def draw_missed(axis: Axes, smallest_visible: float, place: int, unit: Unit, label: str) -> None:
    """The differences that would often be missed, as a band behind a row."""
    ends = np.array([-1, 1]) * unit.scale * smallest_visible
    style: Any = {"color": MUTED, "alpha": 0.25, "linewidth": 12, "solid_capstyle": "butt", "zorder": 0}
    axis.plot(ends, (place, place), **style, label=label)


def draw_interval(axis: Axes, found: Estimate, place: int, unit: Unit, **style: Any) -> None:
    """A mean with its interval, in a row of its own."""
    spread = None
    if found.low is not None and found.high is not None:
        spread = [[unit.scale * (found.mean - found.low)], [unit.scale * (found.high - found.mean)]]
    axis.errorbar([unit.scale * found.mean], [place], xerr=spread, capsize=4, linewidth=2, markersize=6, **style)


def _curves(comparison: Comparison) -> Drawing:
    """A panel a data set, a line a head: the metric by the number of images that are learned from."""
    unit, config = Unit(comparison.config.metric), comparison.config
    figure, axes = plt.subplots(
        1, len(comparison.sets), figsize=(5.2 * max(2, len(comparison.sets)), 4.6), layout="constrained", squeeze=False
    )
    designs = [*(design_of_size(size) for size in config.sizes), K_FOLD]
    for axis, (name, each) in zip(axes[0], comparison.sets.items(), strict=True):
        all_of_class = each.images * (1 - 1 / config.folds) / max(1, each.n_classes)
        places = [*config.sizes, all_of_class]
        for head, (colour, marker) in zip(each.figures[K_FOLD], cycle(SERIES), strict=False):
            rows = [each.figures[design][head].value for design in designs]
            axis.plot(places, [unit.scale * row.mean for row in rows], color=colour, marker=marker, label=head)
            if all(row.low is not None and row.high is not None for row in rows):
                low, high = ([unit.scale * getattr(row, end) for row in rows] for end in ("low", "high"))
                axis.fill_between(places, low, high, color=colour, alpha=0.08, linewidth=0)
        axis.set_xscale("log")
        axis.set_xticks(places, [*map(str, config.sizes), f"all ({all_of_class:.0f})"])
        axis.minorticks_off()
        axis.set(xlabel=f"{each.noun} a class to learn from", ylabel=unit.of_values, title=name)
        axis.legend(loc="best", fontsize=8)
    main = main_head(comparison)
    curve = ", ".join(unit.value(comparison.first.figures[design][main].value.mean) for design in designs)
    learned = ", ".join([*map(str, config.sizes), "all"])
    return Drawing(
        figure, f"{unit.label} of each head by the number a class that it learns from ({learned}); of {main}: {curve}."
    )


def _repetitions(own: Sequence[TrialResult], metric: str) -> np.ndarray:
    """The mean over the folds of each repetition."""
    folds = [each for each in own if each.design == K_FOLD]
    seeds = sorted({each.seed for each in folds})
    return np.array([np.mean([each.value(metric) for each in folds if each.seed == seed]) for seed in seeds])
