"""The order of rows that are read from the disk as they are needed: blocks shuffled, then rows within a window of them.

A block is a run of neighbouring rows of one file, so the disk is read in long stretches. In each epoch the blocks are
permuted; the rows of every ``window_blocks`` of them are permuted together. Both follow from the seed and the epoch
alone, as the order of rows in memory does, so a resumed training needs no generator's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_BYTES = 1 << 21
WINDOW_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class Order:
    """What, beside the seed, decides the order of streamed rows; part of a run's record.

    Attributes:
        block_rows: Rows of a block; the last of a file has fewer.
        window_blocks: Blocks whose rows are shuffled together, of all parts.
        parts: Into how many parts the blocks of an epoch are dealt. A step takes as many rows from each, so that as
            many processes can take the same steps, each reading its own part alone.
    """

    block_rows: int
    window_blocks: int = WINDOW_BLOCKS
    parts: int = 1

    @classmethod
    def of(cls, rows: int, row_bytes: int, parts: int = 1) -> Order:
        """The order for so many rows of so many bytes on the disk; of few rows every part gets its share too."""
        most = rows if parts == 1 else rows // (WINDOW_BLOCKS * parts)
        return cls(block_rows=max(1, min(BLOCK_BYTES // row_bytes, most)), parts=parts)

    def blocks(self, rows_of_files: list[int]) -> np.ndarray:
        """All blocks, in the order of the rows: file, first row and end of each, int64 of shape (n, 3)."""
        of_files = []
        for index, rows in enumerate(rows_of_files):
            starts = np.arange(0, rows, self.block_rows)
            of_files.append(
                np.stack([np.full_like(starts, index), starts, np.minimum(starts + self.block_rows, rows)], axis=1)
            )
        return np.concatenate(of_files)

    def dealt(self, blocks: np.ndarray, seed: int, epoch: int, part: int) -> np.ndarray:
        """The blocks of one part in an epoch, in the order in which they are read."""
        return blocks[np.random.default_rng([seed, epoch]).permutation(len(blocks))][part :: self.parts]

    def windows(self, blocks: np.ndarray) -> Iterator[np.ndarray]:
        """The blocks of a part, window by window."""
        each = max(1, self.window_blocks // self.parts)
        return (blocks[start : start + each] for start in range(0, len(blocks), each))

    def rows(self, seed: int, epoch: int, part: int, window: int, n: int) -> np.ndarray:
        """The order of the ``n`` rows of a window."""
        return np.random.default_rng([seed, epoch, part, window]).permutation(n)
