"""The result in words: a sentence, a table for the terminal, and which checks were run."""

from __future__ import annotations

import numpy as np

from pipeline.devices.results import table
from pipeline.inference.record import EvaluationRecord
from pipeline.report.calibration import Calibration
from pipeline.report.standing import Standing
from pipeline.report.words import percent
from pipeline.util.bootstrap import BINS
from pipeline.util.metrics import METRICS, Estimate

SHOWN = ("balanced_accuracy", "roc_auc", "ece")
"""The metrics beside accuracy that the terminal shows."""


def sentence(record: EvaluationRecord) -> str:
    """The last epoch's accuracy, in one sentence."""
    last = record.epochs.last
    low, high = last.wilson95
    return (
        f"{last.correct} of {last.total} validation images are classified correctly: accuracy "
        f"{percent(last.accuracy)}, 95 % Wilson interval {100 * low:.1f} to {percent(high)}."
    )


def summary(record: EvaluationRecord) -> str:
    """A short table of both epochs, and which checks were run."""
    lines = [f"{'':5}  {'epoch':>5}  {'accuracy':>8}  {'95 % interval':>15}  {'loss':>6}  correct"]
    for which, row in (("last", record.epochs.last), ("best", record.epochs.best)):
        low, high = row.wilson95
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(
            f"{which:5}  {row.epoch:5d}  {row.accuracy:8.4f}  {interval:>15}  {row.loss:6.4f}  "
            f"{row.correct}/{row.total}"
        )
    lines.append("best: the epoch with the highest validation accuracy, chosen on these same images, so flattered")
    scores = record.epochs.last.scores
    told = [f"{METRICS[name].label} {_decimals(scores[name])}" for name in SHOWN if name in scores]
    lines.append(f"last: {', '.join(told)}")
    lines += majority_words(record)
    on_device = [] if record.devices is None else table(record.devices)
    return "\n".join([*lines, *on_device, *checks(record)])


def majority_words(record: EvaluationRecord) -> list[str]:
    """A sentence where the last epoch's head is no more accurate than its most frequent class alone; else none."""
    last = record.epochs.last
    most = max(last.support)
    if last.correct > most:
        return []
    chosen = sum(any(row[guess] for row in last.confusion) for guess in range(len(last.support)))
    alone = f"; the head predicts {chosen} of {len(last.support)} classes" if chosen < len(last.support) else ""
    return [
        f"Always {record.classes[last.support.index(most)]}, the most frequent class, is right on {most} of "
        f"{last.total}: this accuracy shows nothing that was learned{alone}. Balanced accuracy and ROC AUC tell more; "
        "train's --class-weights balanced counts rare classes as much, and rows of several scales need --standardize."
    ]


def _decimals(found: Estimate) -> str:
    if found.value is None:
        return f"not defined ({found.reason})"
    ends = found.interval95
    return f"{found.value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def checks(record: EvaluationRecord) -> list[str]:
    """Sentences on the checks that ran on the images, or on what they lack to run."""
    parity = record.parity
    if record.not_run and not record.features["backbone"]:
        return [f"Not run: a network on pictures, because {record.not_run[0]}."]
    if record.not_run:
        return [
            "Not run: the whole network on the images. These figures are from the cached features alone. It needs:",
            *(f"  {reason}" for reason in record.not_run),
        ]
    seconds = record.seconds.images_end_to_end
    total = record.epochs.last.total
    lines = [f"The whole network, backbone and head, classified {total} images end to end in {seconds} s."]
    if parity is None:
        lines.append(
            "The backbone is not the one that made the features (--accept-other-weights), so parity was not judged."
        )
    else:
        verdict = "agree with" if parity.holds else "DIFFER from"
        lines.append(
            f"Its logits {verdict} those from the cached features: largest difference {parity.max_difference:.1e} "
            f"(at most {parity.tolerance:.0e} allowed)."
        )
    return lines


def calibration_words(found: Calibration) -> str:
    """The expected calibration error in words, and whether chance explains it at this number of images."""
    images = sum(each.images for each in found.bins)
    mean, accuracy = found.mean_probability, found.accuracy
    tendency = "surer than it is right" if mean > accuracy else "less sure than it is right"
    told = "more than chance explains" if found.ece > found.chance95 else "so this error can't be told from chance"
    return (
        f"The head's probabilities differ from its accuracy by {percent(found.ece)} on average (expected calibration "
        f"error, {BINS} bins of equal width). It gives its predictions a probability of {percent(mean)} on average and "
        f"is right in {percent(accuracy)} of them: it is {tendency}. With {images} images, a perfectly calibrated head "
        f"of the same probabilities would show an error of {percent(found.chance)} by chance, and at most "
        f"{percent(found.chance95)} in 95 of 100 cases: {told}."
    )


def standing_words(found: Standing | str) -> list[str]:
    """How the run compares with a linear layer and with other seeds, a sentence each; or why that is not known."""
    if isinstance(found, str):
        return [f"Nothing was trained beside this head: {found}."]
    words = []
    if found.classical is not None and found.difference is not None and found.difference95 is not None:
        low, high = found.difference95
        verdict = (
            "so these images can't tell the two apart"
            if low <= 0 <= high
            else f"so this head is {'more' if low > 0 else 'less'} accurate than that here, on one seed"
        )
        words.append(
            f"One linear layer, trained on the same rows with the same seed and epochs, is right in "
            f"{percent(found.classical.accuracy)} ({found.classical.correct} of {found.classical.total}). The "
            f"difference is {100 * found.difference:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}: "
            f"{verdict}."
        )
    n, median = len(found.seeds), float(np.median(found.accuracies))
    words.append(
        f"{n} further seeds of this head reach {100 * min(found.accuracies):.1f} to {percent(max(found.accuracies))}, "
        f"in the middle {percent(median)}: {found.below} below this run, {found.level} level with it, "
        f"{n - found.below - found.level} above."
    )
    return [line.replace("-", "\u2212") for line in words]
