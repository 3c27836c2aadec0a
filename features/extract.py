"""Stage 1: images → rows of features. The frozen network sees every image once, and never again.

In: an :class:`features.config.ExtractConfig`. Out: a verified cache, and a line that says what was done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.backbone.record import RuntimeRecord, RuntimeSettings
from features.cache.featureset import FeatureFile
from features.cache.packaged import help_without_network, packaged_serves, use_packaged
from features.cache.pieces import Piece, PieceFolder, clear_pieces, cut, unfinished_pieces
from features.cache.records import Provenance, Skipped, TakenOver, Views
from features.cache.store import image_digests, shard_files
from features.cache.takeover import RowsAtHand, computed_alike
from features.cache.target import differences, existing_cache, refuse_target, with_earlier_names, with_places
from features.config import ExtractConfig
from features.engines.pixels import Stopwatch
from features.sources import check, images
from features.sources.download import DownloadError
from features.sources.folder import EXTENSIONS
from features.sources.images import ImageSet
from features.util.errors import InputError
from features.util.provenance import versions

if TYPE_CHECKING:
    from features.backbone.network import Backbone
    from features.engines.cluster import RayEngine
    from features.engines.local import LocalEngine


def make_features(config: ExtractConfig) -> FeatureFile:
    """Bring the cache ``config.out`` up to date: keep it, compute it, or put the packaged features there.

    Rows of images that are unchanged are taken over from the cache that is there; ``config.force`` computes all.

    Raises:
        InputError: for data, weights or a target that can't be used; an earlier cache is then untouched.
        KeyboardInterrupt: at Ctrl-C; the pieces that were finished are kept for the next run.
    """
    started = time.perf_counter()
    refuse_target(config.out, shards=config.shards)
    existing = existing_cache(config.out, shards=config.shards)
    if config.offline:
        return use_packaged(config, existing, "--offline (make: OFFLINE=1) was given, so nothing was downloaded")
    from features.backbone.network import load_backbone, weight_names

    weight_names(config.backbone)  # an unknown network ends here, before anything is downloaded
    try:
        image_set = images.open_images(
            config.data, split=config.split, seed=config.seed, classes=config.class_names, limit=config.limit
        )
        backbone = load_backbone(config.backbone, config.weights)
    except DownloadError as error:
        if not packaged_serves(config):
            raise InputError(f"{error}.\n{help_without_network()}") from error
        return use_packaged(config, existing, str(error))

    _report_ignored(image_set)
    image_set, digests, skipped = _check(config, image_set, existing)
    _report_shared(check.shared_images(image_set, digests))
    provenance = _provenance(config, image_set, backbone, digests, skipped)
    if existing is not None and not config.force:
        stale = differences(existing, provenance, image_set, digests)
        if not stale:
            clear_pieces(config.out)
            existing = with_places(existing, provenance)
            print(f"{existing}: up to date, same images, weights and transform")
            return existing
        print(f"making the features again: other {' and '.join(stale)} than those of {existing.path}")

    donor = None if config.force else existing
    made = with_earlier_names(_extract(config, image_set, backbone, provenance, digests, donor), existing)
    print(f"{made}: made in {time.perf_counter() - started:.1f} s")
    return made


def _extract(
    config: ExtractConfig,
    image_set: ImageSet,
    backbone: Backbone,
    provenance: Provenance,
    digests: Mapping[str, str],
    donor: FeatureFile | None,
) -> FeatureFile:
    """Make the pieces that are missing, then the cache of all of them; rows that ``donor`` holds are taken over."""
    with PieceFolder(out=config.out, provenance=provenance).lock():
        earlier = RowsAtHand(shard_files(donor.path) if donor else [], provenance, computed_alike)
        pieces = cut(image_set, digests, config.shard_rows, earlier.find)
        total = sum(len(piece.paths) for piece in pieces)
        to_compute = sum(len(piece.to_compute) for piece in pieces)
        engine = _engine(config, image_set, backbone) if to_compute else None
        folder = _folder(config, provenance, engine, donor, total - to_compute)
        if donor and to_compute < total:
            print(
                f"taking over {total - to_compute} of {total} rows, whose images are unchanged, from {donor.path}; "
                f"the network runs on the other {to_compute}"
            )

        # What an interrupted run has left, whole pieces or single rows of them.
        unfinished = RowsAtHand(unfinished_pieces(config.out), folder.provenance, folder.counts, same_path=True)
        if unfinished.files:
            find = lambda *image: earlier.find(*image) or unfinished.find(*image)  # noqa: E731
            pieces = cut(image_set, digests, config.shard_rows, find)
        missing = folder.missing(pieces, shards=config.shards and not config.force)
        left = sum(len(piece.to_compute) for piece in missing)
        folder.discard(set(unfinished_pieces(config.out)) - set(unfinished.files))
        if left < to_compute:
            print(f"going on where an earlier run stopped: {to_compute - left} of {to_compute} images are done")
        _compute(folder, pieces, missing, engine, to_compute, left)
        return folder.leave(pieces) if config.shards else folder.join(pieces)


def _folder(
    config: ExtractConfig,
    provenance: Provenance,
    engine: LocalEngine | RayEngine | None,
    donor: FeatureFile | None,
    taken: int,
) -> PieceFolder:
    """The folder of pieces, which says what computes the rows, and from which cache others were taken over."""
    there = donor.provenance if donor else None
    taken_over = None
    if there and taken:
        taken_over = TakenOver(rows=taken, created=there.created, runtime=there.runtime, versions=there.versions)
    runtime = engine.record if engine else there.runtime if there else None
    return PieceFolder(
        out=config.out, provenance=replace(provenance, runtime=runtime, taken_over=taken_over), fresh=config.force
    )


def _compute(
    folder: PieceFolder,
    pieces: Sequence[Piece],
    missing: Sequence[Piece],
    engine: LocalEngine | RayEngine | None,
    to_compute: int,
    left: int,
) -> None:
    """Make the missing pieces: by copying where all rows are at hand, else by the network."""
    from tqdm import tqdm

    for piece in missing:
        if not piece.to_compute:
            folder.write(piece, None, None)
    if engine is None:
        return
    watch = Stopwatch()
    started = time.perf_counter()
    with tqdm(total=to_compute, initial=to_compute - left, unit="image", desc="features", disable=None) as bar:
        try:
            engine.extract(folder, [piece for piece in missing if piece.to_compute], watch, bar.update)
        except KeyboardInterrupt:
            done = sum(folder.file(piece).exists() for piece in pieces)
            raise KeyboardInterrupt(
                f"stopped by Ctrl-C; {done} of {len(pieces)} pieces are finished and kept: run the same command "
                "again to go on from there"
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


def _check(
    config: ExtractConfig, image_set: ImageSet, existing: FeatureFile | None
) -> tuple[ImageSet, dict[str, str], tuple[Skipped, ...]]:
    """Fingerprint and try every image before the network starts.

    Returns:
        The images to use, the SHA-256 of each, and those left out, each with the reason.
    """
    known = image_digests([*(shard_files(existing.path) if existing else ()), *unfinished_pieces(config.out)])
    if config.engine == "ray":
        from features.engines.cluster import check_on_cluster

        checked = check_on_cluster(image_set, known, config.address)
    else:
        checked = check.check_images(image_set, known)
    if not config.skip_bad:
        check.refuse_unreadable(image_set, checked)
    elif checked.problems:
        print(f"left out {len(checked.problems)} unreadable image(s); the file lists them with the reasons")
        image_set = images.without(image_set, checked.problems)
    return image_set, checked.digests, tuple(Skipped(*each) for each in checked.problems.items())


def _provenance(
    config: ExtractConfig,
    image_set: ImageSet,
    backbone: Backbone,
    digests: Mapping[str, str],
    skipped: tuple[Skipped, ...],
) -> Provenance:
    """What the cache is to be made from; of the runtime, only the precision that is asked for is known yet."""
    from features.backbone.network import is_named

    return Provenance(
        classes=image_set.classes,
        backbone=backbone.name,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform,
        data=image_set.name,
        images_sha256=check.images_sha256(image_set, digests),
        data_location=_location(config.data, config.out, images.is_name(config.data)),
        weights_location=_location(config.weights, config.out, is_named(config.backbone, config.weights)),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=config.note,
        selection=image_set.selection,
        dtype=config.dtype,
        runtime=RuntimeRecord(name=config.runtime, precision=config.precision),
        views=Views(count=config.views, seed=config.seed) if config.views else None,
        skipped=skipped,
    )


def _location(given: str, out: Path, is_name: bool) -> str:
    """Where stage 3 finds the images or weights again: a name or an absolute path stays; a relative one starts at the
    cache's folder, so that the two can move together."""
    place = Path(given).expanduser()
    if is_name or place.is_absolute():
        return given if is_name else str(place)
    return os.path.relpath(place.absolute(), out.absolute().parent)


def _report_ignored(image_set: ImageSet) -> None:
    if image_set.ignored:
        shown = ", ".join(image_set.ignored[:3]) + (", …" if len(image_set.ignored) > 3 else "")
        print(f"left out {len(image_set.ignored)} file(s) not named as images ({', '.join(EXTENSIONS)}): {shown}")


def _report_shared(shared: list[str]) -> None:
    if shared:
        shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        print(f"warning: {len(shared)} validation image(s) are also training images; accuracy is flattered: {shown}")


def _report_speed(watch: Stopwatch, count: int, seconds: float) -> None:
    spent = ", ".join(f"{work} {watch.seconds.get(work, 0.0):.1f} s" for work in ("read", "decode", "network", "write"))
    print(f"{count / seconds:.1f} images a second; {spent} (side by side, so that they overlap)")
