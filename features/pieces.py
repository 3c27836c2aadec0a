"""Pieces: the rows of a data set in runs of a few hundred, each a verified file of its own, so that none is lost.

What is in a piece depends on its images, the backbone and the settings alone, not on what ran before it or where:
batches start anew with each piece, so that an interrupted pass, an undisturbed one and one spread over a cluster end in
the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from features.errors import InputError
from features.featureset import FeatureFile, Provenance
from features.images import ImageSet
from features.partfile import being_written, lock, sync_folder
from features.store import SPLITS, verify_features, verify_file
from features.writer import FeatureWriter, join


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
    """

    index: int
    of: int
    split: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    digests: tuple[str, ...]


def cut(image_set: ImageSet, digests: dict[str, str], rows: int) -> list[Piece]:
    """The pieces of a data set, ``rows`` images each but for the last one of a split."""
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
        )
        for index, (split, part) in enumerate(bounds)
    ]


@dataclass(frozen=True, kw_only=True)
class PieceFolder:
    """Where the pieces of a cache are kept until they become it, and what is written into each.

    Attributes:
        out: The cache.
        provenance: What it is made from.
    """

    out: Path
    provenance: Provenance

    @property
    def path(self) -> Path:
        """The folder, beside the cache."""
        return self.out.with_name(f".{self.out.name}.parts")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes away from the pieces; an empty folder is not left behind.

        Raises:
            InputError: if another process is at work on them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if not lock(descriptor, self.path):
                raise being_written(self.out)
            try:
                yield
            finally:
                if not any(self.path.iterdir()):
                    self.path.rmdir()
        finally:
            os.close(descriptor)

    def file(self, piece: Piece) -> Path:
        """The file of a piece."""
        return self.path / f"{piece.index:05}-of-{piece.of:05}.h5"

    def missing(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Those pieces whose file is not there, whole, and of this very extraction; files of another one are
        removed."""
        done = [piece for piece in pieces if self._is_done(piece)]
        kept = {self.file(piece) for piece in done}
        for file in self.path.iterdir():
            if file not in kept:
                file.unlink()
        return [piece for piece in pieces if self.file(piece) not in kept]

    def write(self, piece: Piece, features: np.ndarray, views: np.ndarray | None) -> None:
        """Write a piece; it appears only when it is whole and verified.

        Args:
            piece: Which.
            features: Shape (n, D), float32.
            views: Shape (n, V, D), float32, or None.
        """
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
            writer.finish(self._said_of(piece))

    def join(self, pieces: Sequence[Piece]) -> FeatureFile:
        """Make the one file of them, and remove them."""
        made = join(self.out, [self.file(piece) for piece in pieces], self.provenance)
        for piece in pieces:
            self.file(piece).unlink()
        return made

    def leave(self, pieces: Sequence[Piece]) -> FeatureFile:
        """Move them beside ``out`` as the shards of one data set, in place of shards that were there."""
        shards = {self.file(piece): self._shard(piece) for piece in pieces}
        for file, shard in shards.items():
            file.replace(shard)
        sync_folder(self.out.parent)
        for stale in set(self.out.parent.glob(_shard_name(self.out, "*", "*"))) - set(shards.values()):
            stale.unlink()
        return verify_features(shard_pattern(self.out))

    def _is_done(self, piece: Piece) -> bool:
        try:
            found = verify_file(self.file(piece)).provenance
        except InputError:
            return False
        return _essence(found) == _essence(self._said_of(piece))

    def _said_of(self, piece: Piece) -> Provenance:
        # What was left out is told once, in the first.
        shard = {"index": piece.index, "of": piece.of}
        return replace(self.provenance, shard=shard, skipped=self.provenance.skipped if piece.index == 0 else ())

    def _shard(self, piece: Piece) -> Path:
        return self.out.with_name(_shard_name(self.out, f"{piece.index:05}", f"{piece.of:05}"))


def shard_pattern(out: Path) -> Path:
    """The name, with a ``*``, of the shards that stand for the cache ``out``."""
    return out.with_name(f"{out.stem}-*{out.suffix}")


def _shard_name(out: Path, index: str, of: str) -> str:
    return f"{out.stem}-{index}-of-{of}{out.suffix}"


def _essence(provenance: Provenance) -> Provenance:
    """All that rows depend on: not when they were made, where their images lie, or what was noted."""
    return replace(provenance, created="", note="", data="", data_location="", weights="", weights_location="")
