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

from features.cache.featureset import SPLITS, FeatureFile, Provenance
from features.cache.partfile import being_written, lock
from features.cache.store import verify_features, verify_file
from features.cache.writer import FeatureWriter, join
from features.sources.images import ImageSet
from features.util.errors import InputError
from features.util.files import sync_folder


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
        return _folder(self.out)

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

    def missing(self, pieces: Sequence[Piece], shards: bool = False) -> list[Piece]:
        """Those pieces whose file is not there, whole, and of this very extraction; files of another one are removed.

        Args:
            pieces: All of them.
            shards: Whether shards that are already beside ``out`` count.
        """
        kept = {piece: self.file(piece) for piece in pieces if self._is_done(self.file(piece), piece)}
        for file in set(self.path.iterdir()) - set(kept.values()):
            file.unlink()
        if shards:
            kept |= {piece: file for piece in pieces if self._is_done(file := self._shard(piece), piece)}
        return [piece for piece in pieces if piece not in kept]

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
        for piece in pieces:
            if self.file(piece).exists():
                self.file(piece).replace(self._shard(piece))
        sync_folder(self.out.parent)
        shards = {self._shard(piece) for piece in pieces}
        for stale in set(self.out.parent.glob(_shard_name(self.out, "*", "*"))) - shards:
            stale.unlink()
        return verify_features(shard_pattern(self.out))

    def _is_done(self, file: Path, piece: Piece) -> bool:
        try:
            found = verify_file(file).provenance
        except InputError:
            return False
        return _essence(found) == _essence(self._said_of(piece))

    def _said_of(self, piece: Piece) -> Provenance:
        # What was left out is told once, in the first.
        shard = {"index": piece.index, "of": piece.of}
        return replace(self.provenance, shard=shard, skipped=self.provenance.skipped if piece.index == 0 else ())

    def _shard(self, piece: Piece) -> Path:
        return self.out.with_name(_shard_name(self.out, f"{piece.index:05}", f"{piece.of:05}"))


def unfinished_pieces(out: Path) -> list[Path]:
    """The pieces that an interrupted run left for the cache ``out``."""
    return sorted(_folder(out).glob("*.h5"))


def clear_pieces(out: Path) -> None:
    """Remove the pieces of a cache that is finished: a run that was killed as it finished has left them."""
    for file in _folder(out).glob("*"):
        file.unlink()
    if _folder(out).is_dir():
        _folder(out).rmdir()


def shard_pattern(out: Path) -> Path:
    """The name, with a ``*``, of the shards that stand for the cache ``out``."""
    return out.with_name(f"{out.stem}-*{out.suffix}")


def _folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.parts")


def _shard_name(out: Path, index: str, of: str) -> str:
    return f"{out.stem}-{index}-of-{of}{out.suffix}"


def _essence(provenance: Provenance) -> Provenance:
    """All that rows depend on: not when they were made, where their images lie, what was noted, or how the trial of the
    runtime came out."""
    runtime = {name: provenance.runtime.get(name) for name in ("name", "version", "device", "precision")}
    return replace(
        provenance,
        runtime=runtime,
        created="",
        note="",
        data="",
        data_location="",
        weights="",
        weights_location="",
    )
