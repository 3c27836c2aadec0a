"""Each feature to mean 0 and standard deviation 1 over the training rows (``--standardize``).

Means and deviations are recorded with the cache, so that rows that are classified later are scaled alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from features.exchange.table import Table


@dataclass(frozen=True)
class Scaling:
    """What each feature is shifted and divided by.

    Attributes:
        mean: Of each feature over the training rows.
        std: Standard deviation likewise; 1 where a feature never changes.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, table: Table, training: np.ndarray) -> Self:
        """The scaling of a table's training rows, which ``training``, bool of shape (N,), marks."""
        count = int(training.sum())
        mean = sum(rows.sum(axis=0, dtype=np.float64) for rows in _chosen(table, training)) / count
        squares = sum(np.square(rows - mean).sum(axis=0) for rows in _chosen(table, training)) / count
        std = np.sqrt(squares)
        return cls(tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()))

    @classmethod
    def recorded(cls, transform: str) -> Self | None:
        """The scaling that a cache of imported rows records; None where its rows are as they came."""
        values = json.loads(transform).get("scaling")
        return cls(**{name: tuple(value) for name, value in values.items()}) if values else None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Rows of shape (n, D), scaled."""
        return (rows - np.array(self.mean)) / np.array(self.std)


def _chosen(table: Table, training: np.ndarray) -> Iterator[np.ndarray]:
    done = 0
    for block in table.blocks():
        yield block[training[done : done + len(block)]].astype(np.float64)
        done += len(block)
