"""Takes rows over from earlier caches where picture, network, preprocessing and views are unchanged.

In: caches, and the provenance of the one to be made. Out: where each picture's row lies; the rows themselves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.cache.records import Provenance
from features.cache.store import open_cache, verify_file
from features.sources.catalogue import SPLITS
from features.util.errors import InputError


@dataclass(frozen=True, slots=True)
class RowAt:
    """Where a row lies: file, split and number in that split."""

    file: Path
    split: str
    row: int


class RowsAtHand:
    """The rows of caches that were computed as ``wanted`` is to be computed.

    Args:
        files: Caches. Those of format 1, which hold no fingerprints of pictures, and damaged ones give no rows.
        wanted: What is to be made.
        alike: Whether the rows of a cache may be used.
        same_path: Whether a row counts only for a picture of its path, not for a copy of it: an interrupted run then
            ends in the bits of an undisturbed one, whose batches differ by the place of a picture.

    Attributes:
        files: The caches whose rows may be used.
    """

    def __init__(
        self,
        files: Sequence[Path],
        wanted: Provenance,
        alike: Callable[[Provenance, Provenance], bool],
        *,
        same_path: bool = False,
    ) -> None:
        self.files: list[Path] = []
        self._same_path = same_path
        self._with_views = wanted.views is not None
        self._blocks: list[RowAt] = []
        self._starts: list[int] = []
        # From a picture to the number of its row, counted through all blocks: small, because there may be millions.
        self._plain: dict[bytes, int] = {}
        self._viewed: dict[tuple[bytes, bytes], int] = {}
        count = 0
        for file in files:
            try:
                if not alike(verify_file(file).provenance, wanted):
                    continue
            except InputError:
                continue
            self.files.append(file)
            with open_cache(file) as cache:
                for split in SPLITS:
                    if split not in cache or "digests" not in cache[split]:
                        continue
                    self._blocks.append(RowAt(file.absolute(), split, 0))
                    self._starts.append(count)
                    digests = [row.tobytes() for row in cache[split]["digests"][()]]
                    numbers = range(count, count + len(digests))
                    paths = cache[split]["paths"][()].tolist()
                    self._plain.update(zip(map(self._key, digests, paths), numbers, strict=True))
                    if self._with_views and "views" in cache[split]:
                        self._viewed.update(zip(zip(digests, paths, strict=True), numbers, strict=True))
                    count += len(digests)

    def find(self, split: str, path: str, digest: str) -> RowAt | None:
        """Where the row of a picture lies; None where there is none.

        Args:
            split: Its split now; a training picture needs its views too, which depend on its path.
            path: Its path.
            digest: SHA-256 of its contents, in hex.
        """
        content = bytes.fromhex(digest)
        viewed = self._with_views and split == "train"
        number = (
            self._viewed.get((content, path.encode())) if viewed else self._plain.get(self._key(content, path.encode()))
        )
        if number is None:
            return None
        at = bisect_right(self._starts, number) - 1
        block = self._blocks[at]
        return RowAt(block.file, block.split, number - self._starts[at])

    def _key(self, content: bytes, path: bytes) -> bytes:
        return content + path if self._same_path else content


def computed_alike(there: Provenance, wanted: Provenance) -> bool:
    """Whether a picture has the same row in both, up to rounding: the same network and layer, preprocessing, precision,
    type and views."""
    same = ("backbone", "layer", "weights_sha256", "transform", "dtype", "precision")
    if any(getattr(there, name) != getattr(wanted, name) for name in same):
        return False
    if wanted.views is None:
        return True
    # The first views of a picture are the same however many there are.
    return there.views is not None and there.views.seed == wanted.views.seed and there.views.count >= wanted.views.count


def same_extraction(there: Provenance, wanted: Provenance) -> bool:
    """Whether the rows are :func:`computed_alike` by the very same runtime."""
    return computed_alike(there, wanted) and wanted.runtime is not None and wanted.runtime.alike(there.runtime)


def read_rows(places: Sequence[RowAt], digests: Sequence[str], views: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows from where they lie.

    Args:
        places: Of n rows.
        digests: SHA-256 of their pictures, in hex, checked again: the file may have been replaced since it was listed.
        views: Views to read of each.

    Returns:
        Features of shape (n, D) and, if ``views`` is not 0, of views, shape (n, views, D); in the type as stored.

    Raises:
        InputError: if a row is no longer that of its picture.
    """
    features: list[np.ndarray] = [np.empty(0)] * len(places)
    of_views: list[np.ndarray] = [np.empty(0)] * len(places)
    blocks: dict[tuple[Path, str], list[int]] = {}
    for position, place in enumerate(places):
        blocks.setdefault((place.file, place.split), []).append(position)
    for (file, split), positions in blocks.items():
        # HDF5 wants the numbers in order, and each once.
        rows, back = np.unique([places[position].row for position in positions], return_inverse=True)
        with open_cache(file) as cache:
            group = cache[split]
            there = group["digests"][rows]
            stored = group["features"][rows]
            viewed = group["views"][rows, :views] if views else None
        for position, row in zip(positions, back, strict=True):
            if there[row].tobytes().hex() != digests[position]:
                raise InputError(f"{file} was replaced while its rows were taken over; run the same command again")
            features[position] = stored[row]
            if viewed is not None:
                of_views[position] = viewed[row]
    return np.stack(features), np.stack(of_views) if views else None
