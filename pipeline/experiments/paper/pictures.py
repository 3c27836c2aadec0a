"""The pictures of the paper's table: decision regions, tetromino states, what pretraining gains.

In: numbers. Out: PNG files, and in words what each of them shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from features.util.files import write_atomically
from pipeline.experiments.paper.extractor import STRONG_NOISE, measured
from pipeline.experiments.paper.fit import Samples
from pipeline.experiments.paper.row import summary
from pipeline.experiments.paper.tetrominoes import CLASSES, templates
from pipeline.util.drawing import BLUE, ORANGE

if TYPE_CHECKING:
    from pipeline.experiments.paper.plane import Regions

REACH = 2.5
"""Half a side of the square of the plane that is shown, in standard deviations of the points."""
# The other hues of the same palette (Okabe and Ito, 2008).
GREEN, SKY, BLACK = "#009E73", "#56B4E9", "#000000"


def draw_regions(regions: list[Regions], path: Path) -> str:
    """A row for each task: the test points, then what each model makes of the plane around them."""
    plt.switch_backend("agg")
    shape = (len(regions), len(regions[0].models) + 1)
    figure, axes = plt.subplots(*shape, figsize=(3.1 * shape[1], 3.25 * shape[0]), layout="constrained", squeeze=False)
    for row, of_task in zip(axes, regions, strict=True):
        colours = np.where(of_task.labels == 0, BLUE, ORANGE)
        for axis in row:
            axis.scatter(*of_task.points.T, c=colours, s=9, edgecolors="white", linewidths=0.4, zorder=2)
            axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[], aspect="equal")
        row[0].set_title(f"{of_task.title}\ntest points", fontsize=10)
        for axis, (name, (probabilities, accuracy)) in zip(row[1:], of_task.models.items(), strict=True):
            places = np.linspace(-REACH, REACH, len(probabilities))
            axis.contourf(places, places, probabilities, levels=np.linspace(0, 1, 11), cmap=_pale(BLUE, ORANGE))
            axis.set_title(f"{name}\naccuracy {accuracy:.3f}", fontsize=10)
    _save(figure, path)
    found = "; ".join(
        f"{of_task.title}: " + ", ".join(f"{name} {accuracy:.3f}" for name, (_, accuracy) in of_task.models.items())
        for of_task in regions
    )
    return f"Test points and decision regions of the seed whose dressed circuit is in the middle. Accuracy on {found}."


def draw_tetrominoes(test: Samples, unitaries: torch.Tensor, path: Path) -> str:
    """The seven states as pictures of their probabilities: without noise, with noise, and behind network A."""
    plt.switch_backend("agg")
    states, labels = test.features[0], test.labels[0].numpy()
    noisy = (states * states).numpy()
    behind = measured(unitaries[0], states) ** 2
    members = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    rows = {
        "template": templates() ** 2,
        f"one state,\nnoise {STRONG_NOISE}": noisy[[rows[0] for rows in members]],
        "mean of\nthe noisy": np.stack([noisy[rows].mean(axis=0) for rows in members]),
        "their mean\nbehind A": np.stack([behind[rows].mean(axis=0) for rows in members]),
    }
    figure, axes = plt.subplots(len(rows), len(CLASSES), figsize=(9, 5.2), layout="constrained")
    for axis_row, (words, pictures) in zip(axes, rows.items(), strict=True):
        for axis, probabilities in zip(axis_row, pictures, strict=True):
            shown = axis.imshow(probabilities.reshape(4, 4), cmap="Blues", vmin=0, vmax=0.4)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(words, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], CLASSES, strict=True):
        axis.set_title(name)
    figure.colorbar(shown, ax=axes, label="probability", shrink=0.6)
    _save(figure, path)
    return (
        f"The tetrominoes {', '.join(CLASSES)} as the probabilities of the 16 basis states of four qubits, drawn as "
        f"4 × 4 pixels: without noise, one state under noise {STRONG_NOISE}, the mean under noise, and the mean of "
        "what is measured behind the pretrained circuit A."
    )


def draw_curves(curves: dict[str, dict[str, list]], path: Path) -> str:
    """Test accuracy by batches seen: mean over seeds, and its 95 % interval as a band."""
    plt.switch_backend("agg")
    figure, axis = plt.subplots(figsize=(8, 4.6), layout="constrained")
    styles = ((BLUE, "-"), (ORANGE, "-"), (GREEN, "--"), (BLACK, "-"), (SKY, "--"))
    ends = []
    for (model, curve), (colour, line) in zip(curves.items(), styles, strict=True):
        looks = [summary(accuracies) for accuracies in curve["accuracies"]]
        means = [look["mean"] for look in looks]
        axis.plot(curve["steps"], means, color=colour, linestyle=line, label=model)
        if looks[0]["interval95"] is not None:
            low, high = np.transpose([look["interval95"] for look in looks])
            axis.fill_between(curve["steps"], low, high, color=colour, alpha=0.12, linewidth=0)
        ends.append(f"{model} {means[-1]:.3f}")
    axis.set(xlabel="batches of seven states seen", ylabel="test accuracy, mean over seeds")
    axis.set(xlim=(0, curve["steps"][-1]), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=9)
    _save(figure, path)
    return f"Test accuracy on noisy tetromino states by batches seen, mean over seeds. At the end: {'; '.join(ends)}."


def _pale(low: str, high: str) -> Colormap:
    """From one hue through white to the other, both paler than the points upon them."""
    return LinearSegmentedColormap.from_list("classes", np.array([_mixed(low), (1.0, 1.0, 1.0), _mixed(high)]))


def _mixed(hue: str) -> tuple[float, ...]:
    return tuple(0.55 * part + 0.45 for part in to_rgb(hue))


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=100))
    plt.close(figure)
