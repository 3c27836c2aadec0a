"""The pictures of a sweep: what each hyperparameter is worth, and every trial.

In: the record of a sweep. Out: drawings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.util.drawing import BLUE, INK, MUTED, ORANGE, Drawing, legend_below

LOGARITHMIC = ("q_delta", "lr", "batch")
WORDS = {
    "qubits": "qubits",
    "depth": "depth",
    "entangler": "entangler",
    "q_delta": "spread of the initial weights",
    "lr": "learning rate",
    "batch": "batch",
}


def draw(record: dict[str, Any]) -> dict[str, Drawing]:
    """The drawings by name, to be made inside ``drawing.style()``; the importances where there are any."""
    drawings = {"trials": _trials(record)}
    return drawings | ({"importance": _importance(record["importances"])} if record["importances"] else {})


def _importance(importances: dict[str, float]) -> Drawing:
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    names = list(importances)
    bars = axis.barh(range(len(names)), [importances[name] for name in names], color=BLUE)
    axis.bar_label(bars, fmt="%.2f", padding=4)
    axis.set_yticks(range(len(names)), [WORDS[name] for name in names])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("share of the spread in accuracy")
    ranked = ", ".join(f"{WORDS[name]} {share:.2f}" for name, share in importances.items())
    return Drawing(figure, f"Share of the spread in accuracy that each hyperparameter explains: {ranked}.")


def _trials(record: dict[str, Any]) -> Drawing:
    """A panel a hyperparameter, a point a trial: also five of them can be read."""
    done = [trial for trial in record["trials"] if trial["accuracy"] is not None]
    names = list(record["importances"] or WORDS)
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained", sharey=True)
    for axis, name in zip(axes.flat, names, strict=True):
        _panel(axis, done, name, record["best"]["trial"])
    for axis in axes[:, 0]:
        axis.set_ylabel("cross-validated accuracy, %")
    best = record["best"]
    setting = ", ".join(f"{WORDS[name]} {_shown(value)}" for name, value in best["setting"].items())
    legend_below(figure)
    return Drawing(
        figure,
        f"Cross-validated accuracy of {len(done)} trials over each hyperparameter. The best, trial {best['trial']}: "
        f"{100 * best['inner_accuracy']:.1f} % with {setting}.",
    )


def _panel(axis: Axes, done: list[dict[str, Any]], name: str, best: int) -> None:
    kinds = sorted({trial[name] for trial in done}) if name == "entangler" else []
    for marked in (False, True):
        some = [trial for trial in done if (trial["number"] == best) == marked]
        values = [trial[name] for trial in some]
        # Spread so that trials of one kind are seen, in the same way each time.
        beside = np.random.default_rng(0).uniform(-0.12, 0.12, len(values))
        places = [kinds.index(value) for value in values] + beside if kinds else values
        looks: tuple[str, str, int] = (ORANGE, "D", 46) if marked else (BLUE, "o", 22)
        style: Any = dict(zip(("color", "marker", "s"), looks, strict=True))
        label = "the best trial" if marked else "a trial that came to its end"
        accuracies = [100 * trial["accuracy"] for trial in some]
        axis.scatter(places, accuracies, **style, edgecolors=INK if marked else MUTED, linewidths=0.5, label=label)
    if kinds:
        axis.set_xticks(range(len(kinds)), kinds)
    elif name in LOGARITHMIC:
        axis.set_xscale("log", base=2 if name == "batch" else 10)
        axis.xaxis.set_major_formatter("{x:g}")
        if name == "batch":
            batches = sorted({trial[name] for trial in done})
            axis.set_xticks(batches, list(map(str, batches)))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(WORDS[name])


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
