"""Pieces: the rows of a data set in runs of a few hundred, each a verified file of its own, so that none is lost.

A piece depends on its images, the backbone, the settings and the rows that were taken over, not on what ran before it
or where: batches start anew with each piece, so that an interrupted pass, an undisturbed one and one spread over a
cluster end in the same bits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.partfile import lock_file, locked, unfinished
from features.cache.records import Provenance, Shard
from features.cache.store import SHARD_NUMBERS, verify_features, verify_file
from features.cache.takeover import RowAt, read_rows, same_extraction
from features.cache.writer import FeatureWriter, join
from features.sources.catalogue import SPLITS
from features.sources.images import ImageSet
from features.util.errors import InputError
from features.util.files import sync_folder
from features.util.provenance import canonical_json

# The names that this module writes into the folder of pieces, and those of the unfinished files and locks beside them;
# earlier versions wrote no key.
_OURS = re.compile(rf"\.?{SHARD_NUMBERS}(-[0-9a-f]{{12}})?\.h5(\.part(\.lock)?)?")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive rows of one split.

    Attributes:
        index: Its number among all pieces, from 0.
        of: How many there are.
        split: Its split.
        paths: The paths of its images.
        labels: Their labels.
        digests: SHA-256 of each, in hex.
        at_hand: Where the row of each image lies already; None where the network has to compute it.
    """

    index: int
    of: int
    split: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    digests: tuple[str, ...]
    at_hand: tuple[RowAt | None, ...]

    @property
    def to_compute(self) -> list[int]:
        """Positions of the images whose rows the network has to compute."""
        return [position for position, place in enumerate(self.at_hand) if place is None]


def cut(
    image_set: ImageSet,
    digests: Mapping[str, str],
    rows: int,
    find: Callable[[str, str, str], RowAt | None] = lambda *_: None,
) -> list[Piece]:
    """Cut a data set into pieces of ``rows`` images each but for the last one of a split.

    Args:
        image_set: The images.
        digests: SHA-256 of each, in hex, by path.
        rows: Images in a piece.
        find: Where the row of a picture lies already (:meth:`features.cache.takeover.RowsAtHand.find`).
    """
    bounds = [
        (split, slice(start, start + rows)) for split in SPLITS for start in range(0, len(image_set.paths[split]), rows)
    ]
    return [
        Piece(
            index=index,
            of=len(bounds),
            split=split,
            paths=image_set.paths[split][part],
            labels=image_set.labels[split][part],
            digests=tuple(digests[path] for path in image_set.paths[split][part]),
            at_hand=tuple(find(split, path, digests[path]) for path in image_set.paths[split][part]),
        )
        for index, (split, part) in enumerate(bounds)
    ]


@dataclass(frozen=True, kw_only=True)
class PieceFolder:
    """The folder that keeps a cache's pieces until they are joined, and the provenance written into each.

    Attributes:
        out: The cache.
        provenance: What it is made from.
        fresh: Whether pieces with rows that were taken over from an earlier cache don't count (``--force``).
    """

    out: Path
    provenance: Provenance
    fresh: bool = False

    @property
    def path(self) -> Path:
        """The folder, beside the cache."""
        return _folder(self.out)

    def file(self, piece: Piece) -> Path:
        """The file of a piece; its name tells pieces of different extractions apart."""
        essence = canonical_json(
            [_essence(self._provenance_of(piece)).record(), piece.paths, piece.labels, piece.digests]
        )
        key = hashlib.sha256(essence.encode()).hexdigest()[:12]
        return self.path / f"{piece.index:05}-of-{piece.of:05}-{key}.h5"

    def missing(self, pieces: Sequence[Piece], shards: bool = False) -> list[Piece]:
        """List those pieces whose file is not there and whole.

        Args:
            pieces: All of them.
            shards: Whether shards that are already beside ``out`` count.
        """
        return [
            piece
            for piece in pieces
            if not self._is_done(self.file(piece), piece) and not (shards and self._is_done(self._shard(piece), piece))
        ]

    def counts(self, there: Provenance, wanted: Provenance) -> bool:
        """Whether rows of an unfinished piece may be used: those that this extraction would compute."""
        return same_extraction(there, wanted) and not (self.fresh and there.taken_over)

    def discard(self, files: Iterable[Path]) -> None:
        """Remove pieces of another extraction."""
        for file in files:
            file.unlink()

    def write(self, piece: Piece, features: np.ndarray | None, views: np.ndarray | None) -> None:
        """Write a piece; it appears only when it is whole and verified.

        Args:
            piece: Which.
            features: The rows ``piece.to_compute``, shape (n, D), float32; None where there are none.
            views: Their views, shape (n, V, D), float32, or None.

        Raises:
            InputError: if a row that is at hand is no longer there.
        """
        features, views = self._with_rows_at_hand(piece, features, views)
        digests = np.frombuffer(bytes.fromhex("".join(piece.digests)), np.uint8).reshape(-1, 32)
        with FeatureWriter(
            self.file(piece),
            {piece.split: piece.paths},
            {piece.split: piece.labels},
            features.shape[1],
            dtype=self.provenance.dtype,
            views=0 if views is None else views.shape[1],
            digests={piece.split: digests},
        ) as writer:
            writer.write(piece.split, 0, features, views)
            writer.finish(self._provenance_of(piece))

    def join(self, pieces: Sequence[Piece]) -> FeatureFile:
        """Make the one file of all pieces, and remove what is left in the folder."""
        made = join(self.out, [self.file(piece) for piece in pieces], self.provenance)
        _remove_pieces(self.path)
        return made

    def leave(self, pieces: Sequence[Piece]) -> FeatureFile:
        """Move the pieces beside ``out`` as the shards of one data set, in place of shards that were there."""
        for piece in pieces:
            if self.file(piece).exists():
                self.file(piece).replace(self._shard(piece))
        sync_folder(self.out.parent)
        shards = {self._shard(piece) for piece in pieces}
        for stale in set(shards_beside(self.out)) - shards:
            stale.unlink()
        _remove_pieces(self.path)
        return verify_features(shard_pattern(self.out))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes away from the pieces; an empty folder is not left behind.

        Raises:
            InputError: if another process is at work on them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path, self.out):
            self.path.mkdir(exist_ok=True)
            try:
                yield
            finally:
                if self.path.is_dir() and not any(self.path.iterdir()):
                    self.path.rmdir()

    def _with_rows_at_hand(
        self, piece: Piece, features: np.ndarray | None, views: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        taken = [position for position, place in enumerate(piece.at_hand) if place is not None]
        if not taken:
            assert features is not None
            return features, views
        with_views = self.provenance.views is not None and piece.split == "train"
        there, of_views = read_rows(
            [place for place in piece.at_hand if place is not None],
            [piece.digests[position] for position in taken],
            self.provenance.views.count if self.provenance.views and with_views else 0,
        )
        if features is None:
            return there, of_views
        return _merged(piece, taken, there, features), (
            None if of_views is None or views is None else _merged(piece, taken, of_views, views)
        )

    def _is_done(self, file: Path, piece: Piece) -> bool:
        try:
            found = verify_file(file).provenance
        except InputError:
            return False
        if self.fresh and found.taken_over is not None:
            return False
        return _essence(found) == _essence(self._provenance_of(piece))

    def _provenance_of(self, piece: Piece) -> Provenance:
        shard = Shard(index=piece.index, of=piece.of)
        # The first one alone lists the skipped images.
        return replace(self.provenance, shard=shard, skipped=self.provenance.skipped if piece.index == 0 else ())

    def _shard(self, piece: Piece) -> Path:
        return self.out.with_name(f"{self.out.stem}-{piece.index:05}-of-{piece.of:05}{self.out.suffix}")


def unfinished_pieces(out: Path) -> list[Path]:
    """The pieces that an interrupted run left for the cache ``out``."""
    return sorted(file for file in _folder(out).glob("*.h5") if _OURS.fullmatch(file.name))


def clear_pieces(out: Path) -> None:
    """Remove the pieces of a finished cache that a kill at the last moment left behind. Nothing is removed while
    another process is at work."""
    for left, remove in ((_folder(out), _remove_pieces), (unfinished(out), _remove_file)):
        if left.exists() or lock_file(left).exists():
            with suppress(InputError), locked(left, out):
                remove(left)


def shard_pattern(out: Path) -> Path:
    """The name, with a ``*``, of the shards that stand for the cache ``out``."""
    return out.with_name(f"{out.stem}-*{out.suffix}")


def shards_beside(out: Path) -> list[Path]:
    """All entries of the folder that have the name of a shard of ``out``, of however many, in order."""
    name = re.compile(f"{re.escape(out.stem)}-{SHARD_NUMBERS}{re.escape(out.suffix)}")
    return sorted(entry for entry in out.parent.glob(f"{out.stem}-*") if name.fullmatch(entry.name))


def _folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.parts")


def _remove_pieces(folder: Path) -> None:
    """Remove the files of a folder of pieces that have names which this module writes; an empty folder too."""
    if folder.is_dir():
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name):
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _remove_file(file: Path) -> None:
    file.unlink(missing_ok=True)


def _merged(piece: Piece, taken: list[int], there: np.ndarray, computed: np.ndarray) -> np.ndarray:
    rows = np.empty((len(piece.paths), *there.shape[1:]), there.dtype)
    rows[taken] = there
    rows[piece.to_compute] = computed
    return rows


def _essence(provenance: Provenance) -> Provenance:
    """All that rows depend on: not when they were made, where their images lie, what was noted, whether they were taken
    over, or how the trial of the runtime came out."""
    runtime = provenance.runtime and replace(provenance.runtime, max_difference=None, feature_scale=None)
    return replace(
        provenance,
        runtime=runtime,
        created="",
        note="",
        data="",
        data_location="",
        weights="",
        weights_location="",
        taken_over=None,
    )
