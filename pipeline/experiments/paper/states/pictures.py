"""The pictures of the rows QC and QQ: tetromino states, and what pretraining gains.

In: states, circuits, curves. Out: drawings, to be made inside ``drawing.style()``.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import pyplot as plt

from pipeline.experiments.paper.record import summary
from pipeline.experiments.paper.row import Curve
from pipeline.experiments.paper.states.extractor import STRONG_NOISE, measured
from pipeline.experiments.paper.states.tetrominoes import CLASSES, templates
from pipeline.training.samples import Samples
from pipeline.util.drawing import BLUE, GREEN, INK, ORANGE, SKY, Drawing


def draw_tetrominoes(test: Samples, unitaries: torch.Tensor) -> Drawing:
    """The seven states as pictures of their probabilities: without noise, with noise, and behind network A."""
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
            axis.grid(visible=False)
        axis_row[0].set_ylabel(words, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], CLASSES, strict=True):
        axis.set_title(name)
    figure.colorbar(shown, ax=axes, label="probability", shrink=0.6)
    return Drawing(
        figure,
        f"The tetrominoes {', '.join(CLASSES)} as the probabilities of the 16 basis states of four qubits, drawn as "
        f"4 × 4 pixels: without noise, one state under noise {STRONG_NOISE}, the mean under noise, and the mean of "
        "what is measured behind the pretrained circuit A.",
        in_panels=False,
    )


def draw_curves(curves: dict[str, Curve]) -> Drawing:
    """Test accuracy by batches seen: mean over seeds, and its 95 % interval as a band."""
    figure, axis = plt.subplots(figsize=(8, 4.6), layout="constrained")
    styles = ((BLUE, "-"), (ORANGE, "-"), (GREEN, "--"), (INK, "-"), (SKY, "--"))
    ends = []
    for (model, curve), (colour, line) in zip(curves.items(), styles, strict=True):
        looks = [summary(accuracies, 0, 1) for accuracies in curve.accuracies]
        means = [look.mean for look in looks]
        axis.plot(curve.steps, means, color=colour, linestyle=line, label=model)
        if looks[0].interval95 is not None:
            low, high = np.transpose([look.interval95 for look in looks])
            axis.fill_between(curve.steps, low, high, color=colour, alpha=0.12, linewidth=0)
        ends.append(f"{model} {means[-1]:.3f}")
    axis.set(xlabel="batches of seven states seen", ylabel="test accuracy, mean over seeds")
    axis.set(xlim=(0, curve.steps[-1]), ylim=(0, 1))
    axis.legend(loc="lower right", fontsize=9)
    said = "Test accuracy on noisy tetromino states by batches seen, mean over seeds."
    return Drawing(figure, f"{said} At the end: {'; '.join(ends)}.")
