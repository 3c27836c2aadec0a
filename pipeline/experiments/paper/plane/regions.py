"""What networks make of the plane: the regions in which they choose each class, as numbers and as a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb

from pipeline.heads.stacked import StackedHeads
from pipeline.util.drawing import BLUE, ORANGE, Drawing

SIDE = 120
"""Points along each side of the grid over the plane."""
REACH = 2.5
"""Half a side of the square of the plane that is shown, in standard deviations of the points."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """What networks of one seed make of the plane.

    Attributes:
        title: The task.
        points: Test points (N, 2).
        labels: Their classes (N,).
        models: For each model, its probability of class 1 over the plane, (SIDE, SIDE), and its test accuracy.
    """

    title: str
    points: np.ndarray
    labels: np.ndarray
    models: dict[str, tuple[np.ndarray, float]]


def class_one_over_the_plane(networks: StackedHeads) -> np.ndarray:
    """Each network's probability of class 1 over a square of the plane: (networks, SIDE, SIDE), rows from below."""
    axis = torch.linspace(-REACH, REACH, SIDE)
    grid = torch.cartesian_prod(axis, axis).flip(1)
    with torch.no_grad():
        logits = networks(grid.expand(len(networks), -1, -1))
    return logits.softmax(dim=-1)[..., 1].reshape(-1, SIDE, SIDE).numpy()


def draw_regions(regions: list[Regions]) -> Drawing:
    """A row for each task: the test points, then what each model makes of the plane around them."""
    shape = (len(regions), len(regions[0].models) + 1)
    figure, axes = plt.subplots(*shape, figsize=(3.1 * shape[1], 3.25 * shape[0]), layout="constrained", squeeze=False)
    for row, of_task in zip(axes, regions, strict=True):
        colours = np.where(of_task.labels == 0, BLUE, ORANGE)
        for axis in row:
            axis.scatter(*of_task.points.T, c=colours, s=9, edgecolors="white", linewidths=0.4, zorder=2)
            axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[], aspect="equal")
            axis.grid(visible=False)
        row[0].set_title(f"{of_task.title}\ntest points", fontsize=10)
        for axis, (name, (probabilities, accuracy)) in zip(row[1:], of_task.models.items(), strict=True):
            places = np.linspace(-REACH, REACH, len(probabilities))
            axis.contourf(places, places, probabilities, levels=np.linspace(0, 1, 11), cmap=_pale(BLUE, ORANGE))
            axis.set_title(f"{name}\naccuracy {accuracy:.3f}", fontsize=10)
    found = "; ".join(
        f"{of_task.title}: " + ", ".join(f"{name} {accuracy:.3f}" for name, (_, accuracy) in of_task.models.items())
        for of_task in regions
    )
    return Drawing(
        figure,
        f"Test points and decision regions of the seed whose dressed circuit is in the middle. Accuracy on {found}.",
        in_panels=False,
    )


def _pale(low: str, high: str) -> Colormap:
    """From one hue through white to the other, both paler than the points upon them."""
    return LinearSegmentedColormap.from_list("classes", np.array([_mixed(low), (1.0, 1.0, 1.0), _mixed(high)]))


def _mixed(hue: str) -> tuple[float, ...]:
    return tuple(0.55 * part + 0.45 for part in to_rgb(hue))
