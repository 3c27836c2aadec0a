"""A trained head on rows of features from a file, without a backbone.

In: a run, and a file that :mod:`features.exchange` reads. Out: a :class:`Prediction` of each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.exchange.importer import read_table
from features.exchange.scaling import Scaling
from features.exchange.table import Columns, class_labels, row_names
from features.util.errors import InputError
from features.util.provenance import tensors_sha256
from pipeline.inference.hybrid import Prediction
from pipeline.training.record import Which
from pipeline.training.run import load_run

ROWS = 1024
"""Rows in one pass through the head."""


class RowClassifier:
    """A head and the rows that it is to classify.

    Args:
        run: The run folder.
        epoch: The epoch whose head is wanted.
        file: The rows, of any format that can be imported.

    Attributes:
        classes: Class names, in the order of the logits.
        total: Rows in the file.

    Raises:
        InputError: if the run or the rows can't be used, or the rows are of another width than the head's.
    """

    def __init__(self, run: Path, epoch: Which, file: Path) -> None:
        finished = load_run(run)
        self.classes = finished.classes
        self._head = finished.head(epoch)
        provenance = finished.features.provenance
        self._scaling = Scaling.recorded(provenance.transform) if provenance.imported else None
        self._file = file.expanduser()
        columns = Columns.recorded(provenance.transform) if provenance.imported else Columns()
        self._table = read_table(self._file, columns)
        if self._table.width != finished.features.width:
            raise InputError(
                f"{file} has {self._table.width} features a row, and the head in {run} takes "
                f"{finished.features.width}; give it rows of what it was trained on"
            )
        known = self._table.ids if self._table.ids is not None else self._table.labels
        self.total = len(known) if known is not None else sum(len(block) for block in self._table.blocks())

    @property
    def record(self) -> dict[str, Any]:
        """What the predictions depend on but the rows themselves, of which it has the file's size and time."""
        file = self._file
        there = file.stat() if file.exists() else None
        return {
            "features": str(file.absolute()),
            "file": None if there is None else [there.st_size, there.st_mtime_ns],
            "classes": self.classes,
            "head": tensors_sha256(self._head.state_dict()),
        }

    def own_labels(self) -> list[str]:
        """The label of each row in the file itself.

        Raises:
            InputError: if it has none.
        """
        if self._table.labels is None:
            raise InputError(f"--labels is features, and {self._file} holds no labels under a usual name; give a CSV")
        classes, indices = class_labels(self._table, self._file)
        return [classes[k] for k in indices.tolist()]

    def names(self) -> Iterator[Path]:
        """Yield the names of the rows."""
        return (Path(str(name)) for name in row_names(self._table, self.total, self._file))

    def stream(self) -> Iterator[Prediction]:
        """Yield predictions one by one, in the order of the file."""
        names = self.names()
        done = 0
        for block in self._table.blocks():
            for start in range(0, len(block), ROWS):
                part = block[start : start + ROWS]
                rows = np.array(part if self._scaling is None else self._scaling(part), dtype=np.float32)
                for probabilities in self._probabilities(rows, done):
                    yield Prediction.of(next(names), self.classes, probabilities)
                    done += 1

    def _probabilities(self, rows: np.ndarray, done: int) -> list[list[float]]:
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise InputError(f"row {done + int(np.argmin(finite))} of {self._file} is not finite")
        with torch.inference_mode():
            return self._head(torch.from_numpy(rows)).softmax(dim=1).tolist()
