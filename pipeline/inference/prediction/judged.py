"""How good predictions are, where true classes are known.

In: predictions one by one, and the class of each. Out: :class:`Judged`, in the terminal and as JSON.

The probabilities of labelled predictions are kept until the end: in memory, or beside a file of predictions in
``.NAME.scores``, from which a stopped command goes on. They have all their digits, which the file has not.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from features.util.errors import InputError
from features.util.files import write_text
from pipeline.inference.hybrid import Prediction
from pipeline.inference.prediction.labels import NONE
from pipeline.util.bootstrap import TINY
from pipeline.util.metrics import METRICS, Estimate, Metrics, estimates, metrics
from pipeline.util.records import to_record

MATRIX = 12
"""Above so many classes the terminal shows the most frequent confusions instead of all."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Predictions against true classes.

    Attributes:
        labels: What ``--labels`` named.
        labelled: Predictions that are judged, and ``unlabelled``, those whose class is not known.
        unread: Pictures whose class is known and that could not be read.
        classes: Names, in the order of the confusion matrix.
        metrics: Accuracy, confusion matrix, and scores of each class.
        scores: The metrics of ``METRICS`` by name.
    """

    labels: str
    labelled: int
    unlabelled: int
    unread: int
    classes: list[str]
    metrics: Metrics
    scores: dict[str, Estimate]

    def to_json(self) -> str:
        """As a file beside the predictions."""
        return json.dumps(to_record(self), indent=2, ensure_ascii=False) + "\n"

    def text(self, things: str) -> str:
        """Metrics with their intervals, and confusions."""
        counted = f"{self.labelled} {things} with a label; {self.unlabelled} without, which don't count"
        lines = [f"{counted}; {self.unread} with one can't be read" if self.unread else counted]
        lines.append(f"{'':20}  {'value':>7}  95 % interval")
        for name, found in self.scores.items():
            value = "–" if found.value is None else f"{found.value:.4f}"
            ends = found.reason if found.interval95 is None else "{:.4f} to {:.4f}".format(*found.interval95)
            lines.append(f"{METRICS[name].label:20}  {value:>7}  {ends}")
        confusion, classes = self.metrics.confusion, self.classes
        if len(classes) <= MATRIX:
            width = max(7, *map(len, classes))
            corner = "true, predicted"
            first = max(width, len(corner))
            lines.append("  ".join([f"{corner:{first}}", *(f"{name:>{width}}" for name in classes)]))
            for name, row in zip(classes, confusion, strict=True):
                lines.append("  ".join([f"{name:{first}}", *(f"{count:{width}}" for count in row)]))
            return "\n".join(lines)
        mistakes = [
            (count, truth, taken)
            for truth, row in zip(classes, confusion, strict=True)
            for taken, count in zip(classes, row, strict=True)
            if count and truth != taken
        ]
        frequent = sorted(mistakes, key=lambda each: -each[0])[:MATRIX]
        return "\n".join([*lines, *(f"{count:7} {truth} taken for {taken}" for count, truth, taken in frequent)])


class Judge:
    """Keeps the probabilities of predictions whose true class is known.

    Args:
        labels: What ``--labels`` named.
        truth: The class of each prediction in order, int64 of shape (N,); -1 where it is not known.
        classes: Names of the classes.
        beside: The file of predictions; None where they are printed.
    """

    def __init__(self, labels: str, truth: np.ndarray, classes: list[str], beside: Path | None = None) -> None:
        self.labels, self.truth, self.classes = labels, truth, classes
        self._scores = None if beside is None else beside.with_name(f".{beside.name}.scores")
        self.file = None if beside is None else beside.with_name(f"{beside.name}.metrics.json")

    @contextmanager
    def taking(self, kept: int) -> Iterator[Callable[[Prediction], None]]:
        """A function that takes the predictions behind ``kept`` ones, in order, before they are written.

        Raises:
            InputError: if the probabilities of those that are kept are gone.
        """
        self._kept: BinaryIO = io.BytesIO() if self._scores is None else self._opened(self._scores, kept)
        truth = iter(self.truth[kept:].tolist())

        def take(prediction: Prediction) -> None:
            if next(truth) != NONE:
                values = list(prediction.probabilities.values()) or [np.nan] * len(self.classes)
                self._kept.write(np.array(values, dtype=np.float64).tobytes())

        with self._kept:
            yield take

    def judged(self) -> Judged | None:
        """The outcome, when all predictions are taken, or None where nothing with a label could be read; to be called
        inside :meth:`taking`."""
        self._kept.seek(0)
        found = np.frombuffer(self._kept.read(), dtype=np.float64).reshape(-1, len(self.classes))
        truth = self.truth[self.truth != NONE]
        read = ~np.isnan(found).any(axis=1)
        probabilities, labels = found[read], truth[read]
        if not len(labels):
            return None
        logits = torch.from_numpy(np.log(np.maximum(probabilities, TINY)))
        return Judged(
            labels=self.labels,
            labelled=len(labels),
            unlabelled=int((self.truth == NONE).sum()),
            unread=int((~read).sum()),
            classes=self.classes,
            metrics=metrics(logits, torch.from_numpy(labels)),
            scores=estimates(probabilities, labels, self.classes),
        )

    def write(self, judged: Judged) -> None:
        """Write the outcome beside the file of predictions."""
        assert self.file is not None, "predictions are printed"
        write_text(self.file, judged.to_json())

    def finish(self) -> None:
        """Delete what only a stopped command needs."""
        if self._scores is not None:
            self._scores.unlink(missing_ok=True)

    def _opened(self, file: Path, kept: int) -> BinaryIO:
        size = 8 * len(self.classes) * int((self.truth[:kept] != NONE).sum())
        # Without a buffer, so that what is written of a row is there before the row is.
        opened = file.open("r+b" if size else "w+b", buffering=0) if not size or file.exists() else None
        if opened is None or opened.seek(0, io.SEEK_END) < size:
            raise InputError(
                f"{file}, the probabilities of the {kept} finished rows, is gone or cut; --force begins again"
            )
        opened.truncate(size)
        opened.seek(size)
        return opened
