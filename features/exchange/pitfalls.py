"""What a pass over imported rows notices: rows that are in both splits, and columns that a head's tanh can't take."""

from __future__ import annotations

import numpy as np

MODERATE = (0.1, 3.0)
"""Root mean squares of features that a head takes as they are. Its first layer divides by about √3, and tanh is flat
beyond 2; below, the paper's learning rate moves too little."""


class Pitfalls:
    """Takes blocks of rows as they are written, and remembers 8 bytes a row."""

    def __init__(self) -> None:
        self._keys: dict[bool, list[np.ndarray]] = {True: [], False: []}
        self._squares, self._count = 0.0, 0

    def add(self, block: np.ndarray, training: np.ndarray) -> None:
        """Note a block, float32 of shape (n, D); ``training``, bool of shape (n,), marks the training rows."""
        if not len(block):
            return
        keys = row_keys(block)
        for split, chosen in ((True, training), (False, ~training)):
            self._keys[split].append(keys[chosen])
        self._squares += float(np.vdot(block, block))
        self._count += block.size

    def warnings(self, *, scaled: bool) -> list[str]:
        """What flatters or hinders a head, a sentence each.

        Args:
            scaled: Whether the features have been standardized.
        """
        found = []
        train, val = (np.concatenate(self._keys[split]) for split in (True, False))
        if shared := int(np.isin(val, train).sum()):
            found.append(
                f"{shared} of {len(val)} validation rows have the features of a training row; accuracy is flattered. "
                "Leave duplicates out before the split"
            )
        size = float(np.sqrt(self._squares / max(1, self._count)))
        if not scaled and not MODERATE[0] <= size <= MODERATE[1]:
            effect = "saturate the head's tanh" if size > MODERATE[1] else "move the head little"
            found.append(
                f"features have a root mean square of {size:.3g}, so that they {effect}; --standardize (make: "
                'FEATURES_ARGS="--standardize") scales each over the training rows'
            )
        return found


def row_keys(block: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each row, equal for equal rows."""
    zeros_alike = block + np.float32(0)  # −0 becomes 0
    return np.array([hash(row.tobytes()) for row in zeros_alike])
