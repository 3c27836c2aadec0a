"""Stage 1: images → rows of features. The frozen network sees every image once.

In: an :class:`features.config.ExtractConfig`. Out: a verified cache, and a line saying what was done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.cache.featureset import FeatureFile, Provenance
from features.cache.pieces import Piece, PieceFolder, clear_pieces, cut, shard_pattern, unfinished_pieces
from features.cache.store import DamagedCache, NotACache, image_digests, shard_files, verify_features
from features.cache.writer import join
from features.config import ExtractConfig
from features.engines.pixels import Stopwatch
from features.sources import images
from features.sources.download import DownloadError
from features.sources.folder import EXTENSIONS
from features.sources.images import ImageSet
from features.sources.packaged import help_without_network, packaged_serves, use_packaged
from features.util.errors import InputError
from features.util.provenance import versions

if TYPE_CHECKING:
    from features.backbone.network import Backbone
    from features.engines.cluster import RayEngine
    from features.engines.local import LocalEngine


def make_features(config: ExtractConfig) -> FeatureFile:
    """Bring the cache ``config.out`` up to date: keep it, compute it, or put the packaged features there.

    Raises:
        InputError: for data, weights or a target that can't be used; an earlier cache is then untouched.
        KeyboardInterrupt: at Ctrl-C; the pieces that were finished are kept for the next run.
    """
    started = time.perf_counter()
    _refuse_target(config.out)
    existing = _existing(config)
    if config.offline:
        return use_packaged(config, existing, "--offline (make: OFFLINE=1) was given, so nothing was downloaded")
    try:
        image_set = images.open_images(
            config.data, split=config.split, seed=config.seed, classes=config.class_names, limit=config.limit
        )
        from features.backbone.network import load_backbone

        backbone = load_backbone(config.backbone, config.weights)
    except DownloadError as error:
        if not packaged_serves(config):
            raise InputError(f"{error}.\n{help_without_network()}") from error
        return use_packaged(config, existing, str(error))

    _tell_of_ignored(image_set)
    image_set, digests, skipped = _check(config, image_set, existing)
    _tell_of_shared(images.shared_images(image_set, digests))
    provenance = _provenance(config, image_set, backbone, digests, skipped)
    if existing is not None and not config.force and _up_to_date(existing, provenance, config.precision):
        clear_pieces(config.out)
        existing = _with_places(existing, provenance)
        print(f"{existing}: up to date, same images, weights and transform")
        return existing

    watch = Stopwatch()
    made = _extract(config, image_set, backbone, provenance, cut(image_set, digests, config.shard_rows), watch)
    print(f"{made}: made in {time.perf_counter() - started:.1f} s")
    return made


def _extract(
    config: ExtractConfig,
    image_set: ImageSet,
    backbone: Backbone,
    provenance: Provenance,
    pieces: Sequence[Piece],
    watch: Stopwatch,
) -> FeatureFile:
    """Make the pieces that are missing, then the cache of all of them."""
    from tqdm import tqdm

    engine = _engine(config, image_set, backbone)
    folder = PieceFolder(out=config.out, provenance=replace(provenance, runtime=engine.record))
    with folder.lock():
        missing = folder.missing(pieces, shards=config.shards and not config.force)
        total, left = (sum(len(piece.paths) for piece in some) for some in (pieces, missing))
        if left < total:
            print(f"going on where an earlier run stopped: {total - left} of {total} images are done")
        started = time.perf_counter()
        with tqdm(total=total, initial=total - left, unit="image", desc="features", disable=None) as bar:
            try:
                engine.extract(folder, missing, watch, bar.update)
            except KeyboardInterrupt:
                done = sum(folder.file(piece).exists() for piece in pieces)
                raise KeyboardInterrupt(
                    f"stopped by Ctrl-C; {done} of {len(pieces)} pieces are finished and kept: run the same command "
                    "again to go on from there"
                ) from None
        if left:
            _tell_of_speed(watch, left, time.perf_counter() - started)
        return folder.leave(pieces) if config.shards else folder.join(pieces)


def _engine(config: ExtractConfig, image_set: ImageSet, backbone: Backbone) -> LocalEngine | RayEngine:
    settings = {"runtime": config.runtime, "device": config.device, "precision": config.precision}
    if config.engine == "ray":
        from features.engines.cluster import RayEngine

        return RayEngine(image_set, backbone, settings, config.batch, config.workers, config.address)
    from features.engines.local import LocalEngine

    return LocalEngine(image_set, backbone, settings, config.batch, config.workers)


def _check(
    config: ExtractConfig, image_set: ImageSet, existing: FeatureFile | None
) -> tuple[ImageSet, dict[str, str], tuple[tuple[str, str], ...]]:
    """Fingerprint and try every image before any hour is spent on the network.

    Returns:
        The images to use, the SHA-256 of each, and those left out, each with the reason.
    """
    known = image_digests([*(shard_files(existing.path) if existing else ()), *unfinished_pieces(config.out)])
    if config.engine == "ray":
        from features.engines.cluster import check_on_cluster

        checked = check_on_cluster(image_set, known, config.address)
    else:
        checked = images.check_images(image_set, known)
    if not config.skip_bad:
        images.refuse_unreadable(image_set, checked)
    elif checked.problems:
        print(f"left out {len(checked.problems)} unreadable image(s); the file lists them with the reasons")
        image_set = images.without(image_set, checked.problems)
    return image_set, checked.digests, tuple(checked.problems.items())


def _provenance(
    config: ExtractConfig,
    image_set: ImageSet,
    backbone: Backbone,
    digests: dict[str, str],
    skipped: tuple[tuple[str, str], ...],
) -> Provenance:
    from features.backbone.network import is_named

    return Provenance(
        classes=image_set.classes,
        backbone=backbone.name,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256,
        transform=backbone.transform,
        data=image_set.name,
        images_sha256=images.images_sha256(digests),
        data_location=_location(config.data, config.out, images.is_name(config.data)),
        weights_location=_location(config.weights, config.out, is_named(config.backbone, config.weights)),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=config.note,
        selection=image_set.selection,
        dtype=config.dtype,
        views={"count": config.views, "seed": config.seed} if config.views else {},
        skipped=skipped,
    )


def _refuse_target(out: Path) -> None:
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file, for example {out / 'features.h5'}")
    if "*" in out.name:
        raise InputError(f"--out {out} has a * in its name; name one file, which also names its shards (--shards)")
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise InputError(f"--out {out} lies below {existing}, which is a file; name another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {out} can't be written: {existing} is read-only; name another place")


def _existing(config: ExtractConfig) -> FeatureFile | None:
    """The whole cache that is there already; None where there is none, or, with the reason printed, only a damaged
    one."""
    place = shard_pattern(config.out) if config.shards else config.out
    if not any(place.parent.glob(place.name)):
        return None
    try:
        return verify_features(place)
    except NotACache as error:
        raise InputError(f"{error}\n--out names a file that is not this program's to replace.") from error
    except DamagedCache as error:
        print(f"making the features again: {error}")
    except InputError:  # shards of which some are missing
        if not config.shards:
            raise
    return None


def _up_to_date(existing: FeatureFile, wanted: Provenance, precision: str) -> bool:
    """Whether a cache was made from what is wanted; if not, the reason is printed."""
    stale = [name for name in _DECISIVE if getattr(existing.provenance, name) != getattr(wanted, name)]
    if existing.provenance.runtime.get("precision", "float32") != precision:
        stale.append("precision")
    if stale:
        other = " and ".join(_DECISIVE.get(name, name) for name in stale)
        print(f"making the features again: other {other} than those of {existing.path}")
    return not stale


# What a cache must have in common with what is wanted, and how it is called.
_DECISIVE = {
    "images_sha256": "images",
    "classes": "classes",
    "backbone": "backbone",
    "weights_sha256": "weights",
    "transform": "transform",
    "dtype": "dtype",
    "views": "views",
}


def _with_places(existing: FeatureFile, wanted: Provenance) -> FeatureFile:
    """The cache, telling where its images and weights lie now: stage 3 looks for them where the cache says."""
    places = {name: getattr(wanted, name) for name in ("data", "data_location", "weights", "weights_location")}
    places |= {"selection": wanted.selection, "skipped": wanted.skipped}
    current = replace(existing.provenance, **places)
    if current == existing.provenance or "*" in existing.path.name:
        return existing
    return join(existing.path, [existing.path], current)


def _location(given: str, out: Path, is_name: bool) -> str:
    """How stage 3 finds the images or weights again: a name or an absolute path stays; a relative one is told from the
    cache's folder, so that the two can move together."""
    place = Path(given).expanduser()
    if is_name or place.is_absolute():
        return given if is_name else str(place)
    return os.path.relpath(place.absolute(), out.absolute().parent)


def _tell_of_ignored(image_set: ImageSet) -> None:
    if image_set.ignored:
        shown = ", ".join(image_set.ignored[:3]) + (", …" if len(image_set.ignored) > 3 else "")
        print(f"left out {len(image_set.ignored)} file(s) not named as images ({', '.join(EXTENSIONS)}): {shown}")


def _tell_of_shared(shared: list[str]) -> None:
    if shared:
        shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        print(f"warning: {len(shared)} validation image(s) are also training images; accuracy is flattered: {shown}")


def _tell_of_speed(watch: Stopwatch, count: int, seconds: float) -> None:
    spent = ", ".join(f"{work} {watch.seconds.get(work, 0.0):.1f} s" for work in ("read", "decode", "network", "write"))
    print(f"{count / seconds:.1f} images a second; {spent} (side by side, so that they overlap)")
