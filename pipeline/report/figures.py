"""The figures of a report.

In: :class:`pipeline.report.findings.Findings`. Out: for each, a matplotlib figure and in words what it shows, or None
where there is nothing to draw. A new one is a function here, a line in ``FIGURES``, and its place in ``page.html``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.devices.figure import device_curves
from pipeline.explain.wires import last_layer
from pipeline.heads.base import EXPECTATION, TANH
from pipeline.report.circuit import circuit
from pipeline.report.examples import at_random, thumbnail
from pipeline.report.findings import Findings
from pipeline.report.projection import Projection
from pipeline.report.words import in_legend, percent, short
from pipeline.util.drawing import BLUE, FAINT, INK, MUTED, ON_BLUE, ORANGE, SERIES
from pipeline.util.markdown import counted

# Above these numbers of classes the confusion matrix shows no numbers, and no names.
NUMBERED, NAMED = 12, 30
# A projection shows at most so many images, drawn at random.
POINTS = 400
# Above so many classes the legend of their curves is below them, where it hides none.
BESIDE = 3
# Above so many hidden values their contributions are no longer told apart.
HIDDEN = 16

PERCENT = PercentFormatter(1, decimals=0, symbol=" %")

Drawn = tuple[Figure, str] | None


def learning_curves(report: Findings) -> Drawn:
    """Loss and accuracy of both splits over the epochs."""
    history = report.run.history
    epochs = [epoch.epoch for epoch in history]
    best = report.run.epochs["best"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for split, name, colour, line in (
            ("train", "training", BLUE, "-"),
            ("val", "validation", ORANGE, "--"),
        ):
            values = [getattr(epoch, f"{split}_{quantity}") for epoch in history]
            marker = "o" if len(history) <= 40 else None
            axis.plot(epochs, values, line, color=colour, marker=marker, markersize=3.5, label=name)
        axis.axvline(best, color=MUTED, linewidth=1, linestyle=":", label="best epoch")
        if first := report.run.config.judged_from:
            axis.axvline(first + 0.5, color=MUTED, linewidth=1, label="next phase")
        axis.set(title=quantity, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes[0].legend()
    axes[1].yaxis.set_major_formatter(PERCENT)
    last = history[-1]
    phases = f" A new phase of training begins with epoch {first + 1}; the best epoch is one of it." if first else ""
    return figure, (
        f"Learning curves over {counted(len(history), 'epoch')}: training loss goes from {history[0].train_loss:.3f} "
        f"to {last.train_loss:.3f} and validation loss from {history[0].val_loss:.3f} to {last.val_loss:.3f}; "
        f"training accuracy ends at {percent(last.train_accuracy)} and validation accuracy at "
        f"{percent(last.val_accuracy)}. The best epoch is {best}.{phases}"
    )


def confusion_matrix(report: Findings) -> Drawn:
    """True against predicted class, by the last epoch's head."""
    classes = report.run.classes
    counts = np.asarray(report.record.epochs.last.confusion)
    share = counts / counts.sum(axis=1, keepdims=True).clip(1)
    side = min(2.2 + 0.55 * len(classes), 8)
    figure, axis = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    # One blue, the more opaque the larger the share of its true class: it does on light and on dark paper.
    cells = np.empty((*counts.shape, 4))
    cells[..., :3] = to_rgb(BLUE)
    cells[..., 3] = share
    axis.imshow(cells, interpolation="nearest")
    if len(classes) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            colour = ON_BLUE if share[row, column] > 0.5 else INK
            axis.text(column, row, str(count), ha="center", va="center", color=colour)
    axis.set(xlabel="predicted", ylabel="true")
    axis.grid(visible=False)
    if len(classes) <= NAMED:
        names = [short(name) for name in classes]
        axis.set_xticks(range(len(classes)), names, rotation=45 if len(classes) > 3 else 0)
        axis.set_yticks(range(len(classes)), names)
        plt.setp(axis.get_xticklabels(), ha="right" if len(classes) > 3 else "center", rotation_mode="anchor")
    else:
        axis.set(xlabel="predicted, number of the class in the table", ylabel="true, number of the class")
    wrong = int(counts.sum() - np.trace(counts))
    mistakes = confusions(counts)
    told = "; ".join(f"{count} {classes[row]} taken for {classes[column]}" for count, row, column in mistakes[:6])
    most = f", {'most often' if len(mistakes) > 6 else 'namely'} {told}" if told else ""
    return figure, f"Confusion matrix: {wrong} of {counts.sum()} validation images are off its diagonal{most}."


def confusions(counts: Any) -> list[tuple[int, int, int]]:
    """The confusions of a matrix as (images, true class, predicted class), the most frequent first."""
    found = [(int(count), row, column) for (row, column), count in np.ndenumerate(counts) if row != column and count]
    return sorted(found, key=lambda item: -item[0])


def curves(report: Findings) -> Drawn:
    """ROC and precision over recall, of each class against the others."""
    if isinstance(report.curves, str):
        return None
    height = 4 if len(report.curves) <= BESIDE else 4.4 + 0.1 * len(report.curves)
    figure, (roc, precision) = plt.subplots(1, 2, figsize=(9, height), layout="constrained")
    roc.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1, label="chance")
    for k, each in enumerate(report.curves):
        colour, line = SERIES[k % len(SERIES)][0], "-" if k < len(SERIES) else ":"
        roc.plot(*each.roc, line, color=colour, label=f"{in_legend(each.name)} {each.roc_auc:.3f}")
        label = f"{in_legend(each.name)} {percent(each.average_precision)}"
        precision.plot(*each.precision_recall, line, color=colour, drawstyle="steps-pre", label=label)
    roc.set(title="ROC, with its area", xlabel="others taken for the class", ylabel="images of the class found")
    precision.set(title="precision, with its average", xlabel="images of the class found", ylabel="of these right")
    for axis in (roc, precision):
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axis.xaxis.set_major_formatter(PERCENT)
        axis.yaxis.set_major_formatter(PERCENT)
        if len(report.curves) > BESIDE:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        else:
            axis.legend(loc="lower right" if axis is roc else "lower left")
    told = "; ".join(
        f"{each.name}: area {each.roc_auc:.3f}, average precision {percent(each.average_precision)}"
        for each in report.curves
    )
    return figure, f"ROC curves, and precision over recall, of each class against the others. {told}."


def reliability(report: Findings) -> Drawn:
    """How many images are right against how probable the head says that is, and how often it says so."""
    bins = report.calibration.bins
    figure, (curve, counts) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    low = bins[0].low
    curve.plot([low, 1], [low, 1], "--", color=MUTED, linewidth=1, label="perfectly calibrated")
    x = np.array([each.probability for each in bins])
    y = np.array([each.accuracy for each in bins])
    intervals = np.array([each.wilson95 for each in bins])
    # An interval always holds its accuracy; rounding may say otherwise by 1e-17.
    around = np.abs(np.stack([y - intervals[:, 0], intervals[:, 1] - y]))
    curve.errorbar(x, y, around, fmt="o-", color=BLUE, markersize=5, linewidth=1.2, capsize=3, label="this head")
    curve.set(title="accuracy, with 95 % intervals", xlabel="mean probability of the predicted class")
    curve.set(ylim=(-0.03, 1.03), xlim=(low - 0.02, 1.02))
    curve.xaxis.set_major_formatter(PERCENT)
    curve.yaxis.set_major_formatter(PERCENT)
    curve.legend(loc="lower right")
    edges = [each.low for each in bins]
    widths = [each.high - each.low for each in bins]
    drawn = counts.bar(edges, [each.images for each in bins], widths, align="edge", color=BLUE, edgecolor=FAINT)
    counts.bar_label(drawn, fontsize=9, color=INK)
    counts.set(title="images", xlabel="probability of the predicted class", xlim=(low - 0.02, 1.02))
    counts.grid(visible=False, axis="x")
    counts.xaxis.set_major_formatter(PERCENT)
    counts.yaxis.set_major_locator(MaxNLocator(integer=True))
    listed = "; ".join(
        f"{percent(each.low)} to {percent(each.high)}: {percent(each.accuracy)} of {counted(each.images, 'image')} "
        "right"
        for each in bins
    )
    return figure, (
        f"Reliability curve: how many images are right where the predicted class has a probability of {listed}. "
        f"Expected calibration error {percent(report.calibration.ece)}."
    )


def projection(report: Findings) -> Drawn:
    """The validation images inside the head, along the first two principal components."""
    spaces = report.projections
    if not spaces:
        return None
    figure, axes = plt.subplots(1, len(spaces), figsize=(4.5 * len(spaces), 4.1), layout="constrained", squeeze=False)
    for axis, (name, space) in zip(axes[0], spaces.items(), strict=True):
        _scatter(axis, space, report)
        axis.set_title({TANH: "outputs of tanh", EXPECTATION: "⟨Z⟩ of the wires"}.get(name, "outputs of the circuit"))
    shares = " and ".join(
        f"{space.share.sum():.0%} of the variance of the {'tanh outputs' if name == TANH else name}"
        for name, space in spaces.items()
    )
    apart = " and ".join(f"{space.separation:.0%} of that of {name}" for name, space in spaces.items())
    shown = f" ({POINTS} of them)" if len(report.labels) > POINTS else ""
    return figure, (
        f"The validation images{shown} inside the head, along the first principal components, which hold {shares}. "
        f"Between the classes' means lies {apart}, in all dimensions."
    )


def contributions(report: Findings) -> Drawn:
    """What each hidden value adds to the logit of a class, on the images of that class."""
    hidden, last = report.hidden, last_layer(report.run.head())
    classes = report.run.classes
    if not hidden or last is None or len(classes) > len(SERIES):
        return None
    name, values = list(hidden.items())[-1]
    if values.shape[1] != last.weight.shape[1] or values.shape[1] > HIDDEN:
        return None
    labels = report.labels[report.sampled]
    of_class = [values[labels == k] for k in range(len(classes))]
    means = np.stack([found.mean(axis=0) if len(found) else np.full(values.shape[1], np.nan) for found in of_class])
    added = means * last.weight
    figure, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
    width = 0.8 / len(classes)
    places = np.arange(values.shape[1])
    for k, (label, (colour, _)) in enumerate(zip(classes, SERIES, strict=False)):
        axis.bar(places + (k - (len(classes) - 1) / 2) * width, added[k], width, color=colour, label=in_legend(label))
    axis.axhline(0, color=MUTED, linewidth=1)
    thing = "wire" if name == EXPECTATION else "unit" if name == TANH else "output"
    axis.set(xlabel=thing, ylabel="added to its logit", xticks=places)
    axis.grid(visible=False, axis="x")
    axis.legend(title="images of", loc="best")
    told = "; ".join(
        f"{thing} {place}: "
        + ", ".join(f"{label} {added[k, place]:+.2f}" for k, label in enumerate(classes) if len(of_class[k]))
        for place in places
    )
    return figure, (
        f"What each {thing} adds, on average over the images of a class, to the logit of that class above the mean of "
        f"all logits: {name} times the weight of the last layer. {told}."
    )


def predictions(report: Findings) -> Drawn:
    """A random dozen of validation images with predicted class, probability, and the true class where they differ."""
    if report.images is None:
        return None
    classes = report.run.classes
    chosen = at_random(report)
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.7 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    right = 0
    for axis, index in zip(axes.flat, chosen, strict=False):
        guess = int(report.probabilities[index].argmax())
        truth = int(report.labels[index])
        right += guess == truth
        title = f"{short(classes[guess])} {percent(report.probabilities[index, guess])}"
        title += "" if guess == truth else f"\nwrong, is {short(classes[truth])}"
        axis.imshow(thumbnail(report.images.read(report.paths[index])))
        axis.set_title(title, color=INK if guess == truth else ORANGE)
    return figure, (
        f"{counted(len(chosen), 'validation image')} drawn at random, each with its predicted class and probability; "
        f"{right} of them are right."
    )


def devices(report: Findings) -> Drawn:
    """Accuracy over noise and shots."""
    results = report.record.devices
    return None if results is None else device_curves(results)


FIGURES: dict[str, Callable[[Findings], Drawn]] = {
    "learning_curves": learning_curves,
    "confusion_matrix": confusion_matrix,
    "curves": curves,
    "reliability": reliability,
    "projection": projection,
    "contributions": contributions,
    "predictions": predictions,
    "circuit": circuit,
    "devices": devices,
}


def _scatter(axis: Axes, space: Projection, report: Findings) -> None:
    """Points by true class, and a cross on those that are wrong. Each axis has its own scale."""
    labels = report.labels[report.sampled]
    wrong = report.probabilities[report.sampled].argmax(axis=1) != labels
    rows = np.arange(len(labels))
    if len(rows) > POINTS:
        rows = np.sort(np.random.default_rng(report.run.config.seed).choice(rows, size=POINTS, replace=False))
    x = space.points[rows, 0]
    # One wire has one component: draw each class in a row of its own.
    flat = space.points.shape[1] == 1
    y = labels[rows] if flat else space.points[rows, 1]
    coloured = len(report.run.classes) <= len(SERIES)
    if coloured:
        for label, (name, (colour, marker)) in enumerate(zip(report.run.classes, SERIES, strict=False)):
            of_class = labels[rows] == label
            axis.scatter(x[of_class], y[of_class], s=18, color=colour, marker=marker, alpha=0.65, linewidths=0)
            axis.scatter([], [], s=18, color=colour, marker=marker, label=in_legend(name))
    else:
        axis.scatter(x, y, s=10, color=BLUE, alpha=0.5, linewidths=0, label="image")
    if wrong[rows].any():
        axis.scatter(x[wrong[rows]], y[wrong[rows]], s=34, color=INK, marker="x", linewidths=1.1, label="wrong")
    axis.set(xlabel=f"component 1, {space.share[0]:.0%} of the variance", ylabel="class")
    if flat:
        axis.set_yticks(range(len(report.run.classes)), [short(name) for name in report.run.classes])
    else:
        axis.set_ylabel(f"component 2, {space.share[1]:.0%}")
    axis.legend(loc="best", handletextpad=0.2)
