"""How unlike the training pictures a picture is: its distance from the nearest of them, in the space of features.

In: features of training and validation rows, later those of a picture. Out: a distance, and whether it is larger than
those of all but a stated share of the validation rows. The distance is that to the fifth nearest training row between
rows of length 1; it needs no model of how features are spread, which a few hundred rows could not support.

References:
    Y. Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022 (arXiv:2204.06507).
    The threshold is that of split conformal prediction: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a
    Random World" (2005).
"""

from __future__ import annotations

import math

import numpy as np

from features.util.errors import InputError

NEIGHBOUR = 5
FALSE_ALARMS = 0.05
"""Share of pictures like the validation pictures that are called unlike, at most and on average."""
BLOCK = 256


class Unlikeness:
    """The distance of rows from training rows, with its threshold.

    Args:
        train: Training rows (N, width).
        val: Validation rows (n, width).

    Attributes:
        threshold: Distances above it are unlike the training pictures.

    Raises:
        InputError: if there are too few validation rows to keep the rate of false alarms.
    """

    def __init__(self, train: np.ndarray, val: np.ndarray) -> None:
        self._train = _of_length_1(train)
        distances = np.sort(self.distances(val))
        rank = math.ceil((1 - FALSE_ALARMS) * (len(distances) + 1))
        if rank > len(distances):
            rate, needed = f"{100 * FALSE_ALARMS:.0f} %", math.ceil(1 / FALSE_ALARMS) - 1
            raise InputError(
                f"{len(distances)} validation pictures are too few to keep to {rate} false alarms, which needs {needed}"
            )
        self.threshold = float(distances[rank - 1])

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """The distance of each row (B, width) from its fifth nearest training row, from 0 to 2; shape (B,)."""
        nearest = min(NEIGHBOUR, len(self._train)) - 1
        found = []
        for start in range(0, len(rows), BLOCK):
            cosines = _of_length_1(rows[start : start + BLOCK]) @ self._train.T
            squares = 2 + 2 * np.partition(-cosines, nearest, axis=1)[:, nearest]
            found.append(np.sqrt(squares.clip(0)))
        return np.concatenate(found)


def _of_length_1(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
