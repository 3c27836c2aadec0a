"""The pass over the images that makes caches: what is at hand is copied, the network runs on the rest, once for all.

In: a :class:`Target` for each layer, and the images and the network that all of them share. Out: their caches. Each has
pieces of its own, so that each goes on by itself where an earlier run stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from features.backbone.record import RuntimeRecord, RuntimeSettings
from features.cache.featureset import FeatureFile
from features.cache.pieces import Piece, PieceFolder, cut, unfinished_pieces
from features.cache.records import Provenance, TakenOver
from features.cache.store import shard_files
from features.cache.takeover import RowsAtHand, computed_alike
from features.config import ExtractConfig
from features.engines.pixels import Stopwatch
from features.sources.images import ImageSet

if TYPE_CHECKING:
    from features.backbone.network import Backbone
    from features.engines.cluster import RayEngine
    from features.engines.local import Job, LocalEngine


@dataclass(frozen=True, kw_only=True)
class Target:
    """A cache that is to be made.

    Attributes:
        layer: Name of the layer whose features it holds; "" for the network's own.
        out: The cache.
        provenance: What it is to be made from; of the runtime, only the precision is known yet.
        donor: An earlier cache, whose rows are taken over where they would be the same; None to take over none.
    """

    layer: str
    out: Path
    provenance: Provenance
    donor: FeatureFile | None


def make_caches(
    config: ExtractConfig,
    image_set: ImageSet,
    backbone: Backbone,
    digests: Mapping[str, str],
    targets: Sequence[Target],
) -> list[FeatureFile]:
    """Make caches, in one pass of the network over the images whose rows are not at hand.

    Args:
        config: The flags of the stage.
        image_set: The images.
        backbone: The network, with at least the layers of the targets.
        digests: SHA-256 of each image, in hex, by path.
        targets: The caches.

    Raises:
        InputError: if an image has changed meanwhile, a feature can't be stored, or another process is at a cache.
        KeyboardInterrupt: at Ctrl-C; the pieces that were finished are kept for the next run.
    """
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(PieceFolder(out=target.out, provenance=target.provenance).lock())
        caches = [_Cache(config, image_set, digests, target) for target in targets]
        running = [cache for cache in caches if cache.to_compute]
        engine = _engine(config, image_set, backbone.only([cache.layer for cache in running])) if running else None
        total = sum(len(job.to_compute) for job in _jobs(running))
        for cache in caches:
            cache.settle(engine.records[running.index(cache)] if engine and cache in running else None)
        if engine is not None:
            _run(engine, running, total)
        return [cache.finish() for cache in caches]


class _Cache:
    """A cache under way: its pieces, and which of them are missing.

    Args:
        config: The flags of the stage.
        image_set: The images.
        digests: SHA-256 of each, in hex, by path.
        target: The cache.

    Attributes:
        layer: Its layer.
        pieces: All of its pieces.
        to_compute: Rows that no earlier cache has.
    """

    def __init__(self, config: ExtractConfig, image_set: ImageSet, digests: Mapping[str, str], target: Target) -> None:
        self._config = config
        self._target = target
        donor = target.donor
        self._earlier = RowsAtHand(shard_files(donor.path) if donor else [], target.provenance, computed_alike)
        self._cut = partial(cut, image_set, digests, config.shard_rows)
        self.layer = target.layer
        self.pieces = self._cut(self._earlier.find)
        self.to_compute = sum(len(piece.to_compute) for piece in self.pieces)
        self._missing = self.pieces

    def settle(self, record: RuntimeRecord | None) -> None:
        """Find what an interrupted run left, whole pieces or single rows of them, and copy pieces that need no network.

        Args:
            record: What computes the rows; None where none is computed.
        """
        out, donor = self._target.out, self._target.donor
        total = sum(len(piece.paths) for piece in self.pieces)
        taken = total - self.to_compute
        taken_over = None
        if donor and taken:
            there = donor.provenance
            taken_over = TakenOver(rows=taken, created=there.created, runtime=there.runtime, versions=there.versions)
            print(
                f"taking over {taken} of {total} rows, whose images are unchanged, from {donor.path}; "
                f"the network runs on the other {self.to_compute}"
            )
        runtime = record or (donor.provenance.runtime if donor else None)
        self._folder = PieceFolder(
            out=out,
            provenance=replace(self._target.provenance, runtime=runtime, taken_over=taken_over),
            fresh=self._config.force,
        )
        unfinished = RowsAtHand(unfinished_pieces(out), self._folder.provenance, self._folder.counts, same_path=True)
        if unfinished.files:
            self.pieces = self._cut(lambda *image: self._earlier.find(*image) or unfinished.find(*image))
        self._missing = self._folder.missing(self.pieces, shards=self._config.shards and not self._config.force)
        self._folder.discard(set(unfinished_pieces(out)) - set(unfinished.files))
        for piece in self._missing:
            if not piece.to_compute:
                self._folder.write(piece, None, None)

    @property
    def folder(self) -> PieceFolder:
        """Where its pieces lie until they are joined."""
        return self._folder

    def to_run(self) -> list[Piece | None]:
        """For each piece: itself, if the network has to run for it."""
        missing = {piece.index: piece for piece in self._missing if piece.to_compute}
        return [missing.get(index) for index in range(len(self.pieces))]

    def finish(self) -> FeatureFile:
        """Make the one file, or the shards, of all pieces."""
        return self._folder.leave(self.pieces) if self._config.shards else self._folder.join(self.pieces)


def _jobs(caches: Sequence[_Cache]) -> list[Job]:
    from features.engines.local import Job

    return [Job(pieces) for pieces in zip(*(cache.to_run() for cache in caches), strict=True) if any(pieces)]


def _run(engine: LocalEngine | RayEngine, caches: Sequence[_Cache], total: int) -> None:
    """Make the missing pieces that need the network; ``total`` images did so before an earlier run stopped."""
    from tqdm import tqdm

    jobs = _jobs(caches)
    left = sum(len(job.to_compute) for job in jobs)
    if left < total:
        print(f"going on where an earlier run stopped: {total - left} of {total} images are done")
    watch = Stopwatch()
    started = time.perf_counter()
    with tqdm(total=total, initial=total - left, unit="image", desc="features", disable=None) as bar:
        try:
            engine.extract([cache.folder for cache in caches], jobs, watch, bar.update)
        except KeyboardInterrupt:
            files = [cache.folder.file(piece) for cache in caches for piece in cache.pieces]
            raise KeyboardInterrupt(
                f"stopped by Ctrl-C; {sum(file.exists() for file in files)} of {len(files)} pieces are finished and "
                "kept: run the same command again to go on from there"
            ) from None
    if left:
        _report_speed(watch, left, time.perf_counter() - started)


def _engine(config: ExtractConfig, image_set: ImageSet, backbone: Backbone) -> LocalEngine | RayEngine:
    settings = RuntimeSettings(runtime=config.runtime, device=config.device, precision=config.precision)
    if config.engine == "ray":
        from features.engines.cluster import RayEngine

        return RayEngine(image_set, backbone, settings, config.batch, config.workers, config.address)
    from features.engines.local import LocalEngine

    return LocalEngine(image_set, backbone, settings, config.batch, config.workers)


def _report_speed(watch: Stopwatch, count: int, seconds: float) -> None:
    spent = ", ".join(f"{work} {watch.seconds.get(work, 0.0):.1f} s" for work in ("read", "decode", "network", "write"))
    print(f"{count / seconds:.1f} images a second; {spent} (side by side, so that they overlap)")
