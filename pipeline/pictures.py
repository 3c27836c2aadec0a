"""The pictures of a report: learning curves, confusion matrix, predictions, circuit.

In: a :class:`pipeline.evaluation.Report`. Out: PNG files, each beside the numbers in ``report.json`` and
``history.jsonl`` it was drawn from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from features.images import decode
from pipeline.devices.figure import device_curves
from pipeline.evaluation import Report
from pipeline.heads import DressedQuantumNet
from pipeline.run import write_atomically

# Two hues that stay apart for colour-blind readers (Okabe and Ito, 2008).
BLUE, ORANGE = "#0072B2", "#D55E00"
GRID_IMAGES = 12


def draw_pictures(report: Report, folder: Path) -> dict[str, str]:
    """Draw every picture that can be drawn into ``folder``.

    Returns:
        For each file name, what the picture shows, in words, for those who can't see it.
    """
    plt.switch_backend("agg")
    drawn = {}
    for name, draw in _PICTURES.items():
        if name == "predictions.png" and report.images is None:
            continue
        if name == "devices.png" and report.record["devices"] is None:
            continue
        if name == "circuit.png" and not isinstance(report.run.head(), DressedQuantumNet):
            continue
        figure, words = draw(report)
        write_atomically(folder / name, lambda part, figure=figure: figure.savefig(part, format="png", dpi=110))  # type: ignore[misc]
        plt.close(figure)
        drawn[name] = words
    return drawn


def learning_curves(report: Report) -> tuple[Figure, str]:
    """Loss and accuracy of both splits over the epochs."""
    history = report.run.history
    epochs = [row["epoch"] for row in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for split, colour in (("train", BLUE), ("val", ORANGE)):
            axis.plot(epochs, [row[f"{split}_{quantity}"] for row in history], color=colour, marker=".", label=split)
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
    axes[1].axvline(report.run.epochs["best"], color="grey", linestyle=":", label="best epoch")
    axes[1].legend()
    last = history[-1]
    return figure, (
        f"Learning curves over {len(history)} epochs: the training loss ends at {last['train_loss']:.3f} and the "
        f"validation loss at {last['val_loss']:.3f}, training accuracy at {last['train_accuracy']:.3f} and validation "
        f"accuracy at {last['val_accuracy']:.3f}."
    )


def confusion_matrix(report: Report) -> tuple[Figure, str]:
    """True against predicted class, by the last epoch's head."""
    classes = report.run.classes
    counts = np.asarray(report.record["epochs"]["last"]["confusion"])
    side = 2.2 + 0.55 * len(classes)
    figure, axis = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    axis.imshow(counts / counts.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts[row].sum() / 2
        axis.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) > 3 else 0)
    axis.set_yticks(range(len(classes)), classes)
    wrong = int(counts.sum() - np.trace(counts))
    return figure, f"Confusion matrix: {wrong} of {counts.sum()} validation images are off its diagonal."


def predictions(report: Report) -> tuple[Figure, str]:
    """A random dozen of validation images with predicted class, probability, and the true class where they differ."""
    assert report.images is not None
    classes = report.run.classes
    n = min(GRID_IMAGES, len(report.paths))
    chosen = np.random.default_rng(report.run.config.seed).choice(len(report.paths), size=n, replace=False)
    columns = min(4, n)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.7 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    right = 0
    for axis, index in zip(axes.flat, chosen, strict=False):
        guess = int(report.probabilities[index].argmax())
        truth = int(report.labels[index])
        right += guess == truth
        title = f"{classes[guess]} {report.probabilities[index, guess]:.2f}"
        title += "" if guess == truth else f"\ntrue: {classes[truth]}"
        axis.imshow(_thumbnail(report.images.read(report.paths[index])))
        axis.set_title(title, color="black" if guess == truth else ORANGE, fontsize=10)
    return figure, (
        f"{n} validation images drawn at random, each with its predicted class and probability; {right} of them are "
        "right."
    )


def circuit(report: Report) -> tuple[Figure, str]:
    """The circuit with its trained angles, one embedded sample standing for all."""
    import pennylane as qml

    head = report.run.head("last")
    assert isinstance(head, DressedQuantumNet)
    embedding = np.zeros(head.circuit.n_qubits)
    figure, _ = qml.draw_mpl(head.circuit, decimals=2, style="black_white")(embedding, head.q_params.detach().numpy())
    entangler = "no CNOTs" if head.circuit.entangler == "none" else f"{head.circuit.entangler} CNOTs"
    weights = "trained" if head.q_params.requires_grad else "frozen"
    return figure, (
        f"The circuit: {head.circuit.n_qubits} wires, each with H and a rotation that embeds the sample (drawn for the "
        f"angle 0), then {head.circuit.depth} layers of {entangler} and {weights} RY rotations, then a measurement of "
        "Z on each wire."
    )


def devices(report: Report) -> tuple[Figure, str]:
    """Accuracy over noise and shots."""
    return device_curves(report.record["devices"])


_PICTURES: dict[str, Callable[[Report], tuple[Figure, str]]] = {
    "learning_curves.png": learning_curves,
    "confusion_matrix.png": confusion_matrix,
    "predictions.png": predictions,
    "circuit.png": circuit,
    "devices.png": devices,
}


def _thumbnail(content: bytes) -> Any:
    image = decode(content)
    image.thumbnail((224, 224))
    return image
