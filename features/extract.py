"""Stage 1: images → rows of features. The frozen network sees every image once, and never again.

In: an :class:`features.config.ExtractConfig`. Out: a verified cache for each layer, and a line that says what was done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.backbone.record import RuntimeRecord
from features.cache.featureset import FeatureFile
from features.cache.packaged import help_without_network, packaged_serves, use_packaged
from features.cache.pieces import clear_pieces, unfinished_pieces
from features.cache.records import Provenance, Skipped, Views
from features.cache.store import image_digests, shard_files
from features.cache.target import differences, existing_cache, refuse_target, with_earlier_names, with_places
from features.config import ExtractConfig
from features.making import Target, make_caches
from features.sources import check, images
from features.sources.download import DownloadError
from features.sources.folder import EXTENSIONS
from features.sources.images import ImageSet
from features.util.errors import InputError
from features.util.provenance import versions

if TYPE_CHECKING:
    from features.backbone.network import Backbone


def make_features(config: ExtractConfig) -> FeatureFile:
    """Bring the cache ``config.out`` up to date: keep it, compute it, or put the packaged features there.

    Rows of images that are unchanged are taken over from the cache that is there; ``config.force`` computes all.

    Raises:
        InputError: for data, weights or a target that can't be used; an earlier cache is then untouched. Also for
            several ``config.layers``, which :func:`make_layers` takes.
        KeyboardInterrupt: at Ctrl-C; the pieces that were finished are kept for the next run.
    """
    if len(config.caches) > 1:
        raise InputError(f"--layers names {len(config.layers)} layers, and features of one are wanted; give --layer")
    return make_layers(config)[0]


def make_layers(config: ExtractConfig) -> list[FeatureFile]:
    """Bring the cache of each layer up to date, as :func:`make_features` does, in one pass over the images."""
    started = time.perf_counter()
    for out in config.caches.values():
        refuse_target(out, shards=config.shards)
    existing = {layer: existing_cache(out, shards=config.shards) for layer, out in config.caches.items()}
    if config.offline:
        return [
            use_packaged(config, existing.get(""), "--offline (make: OFFLINE=1) was given, so nothing was downloaded")
        ]
    from features.backbone.network import load_backbone, weight_names

    weight_names(config.backbone)  # an unknown network ends here, before anything is downloaded
    try:
        image_set = images.open_images(
            config.data, split=config.split, seed=config.seed, classes=config.class_names, limit=config.limit
        )
        backbone = load_backbone(config.backbone, config.weights, [layer for layer in config.caches if layer])
    except DownloadError as error:
        if not packaged_serves(config):
            raise InputError(f"{error}.\n{help_without_network()}") from error
        return [use_packaged(config, existing.get(""), str(error))]

    _report_ignored(image_set)
    image_set, digests, skipped = _check(config, image_set, existing)
    _report_shared(check.shared_images(image_set, digests))
    provenance = _provenance(config, image_set, backbone, digests, skipped)
    made: dict[str, FeatureFile] = {}
    stale: list[Target] = []
    for (layer, there), record in zip(existing.items(), backbone.layers or (None,), strict=True):
        wanted = replace(provenance, layer=record)
        differing = [] if there is None or config.force else differences(there, wanted, image_set, digests)
        if there is None or config.force or differing:
            donor = None if config.force else there
            stale.append(Target(layer=layer, out=config.caches[layer], provenance=wanted, donor=donor))
        else:
            clear_pieces(config.caches[layer])
            made[layer] = with_places(there, wanted)
            print(f"{made[layer]}: up to date, same images, weights and transform")
        if differing:
            assert there is not None
            print(f"making the features again: other {' and '.join(differing)} than those of {there.path}")

    for target, file in zip(stale, make_caches(config, image_set, backbone, digests, stale), strict=True):
        made[target.layer] = with_earlier_names(file, existing[target.layer])
        print(f"{made[target.layer]}: made in {time.perf_counter() - started:.1f} s")
    return [made[layer] for layer in config.caches]


def _check(
    config: ExtractConfig, image_set: ImageSet, existing: Mapping[str, FeatureFile | None]
) -> tuple[ImageSet, dict[str, str], tuple[Skipped, ...]]:
    """Fingerprint and try every image before the network starts.

    Returns:
        The images to use, the SHA-256 of each, and those left out, each with the reason.
    """
    there = [file for found in existing.values() if found for file in shard_files(found.path)]
    left = [file for out in config.caches.values() for file in unfinished_pieces(out)]
    known = image_digests([*there, *left])
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
        note=_note(config.note, image_set.note),
        selection=image_set.selection,
        dtype=config.dtype,
        runtime=RuntimeRecord(name=config.runtime, precision=config.precision),
        views=Views(count=config.views, seed=config.seed) if config.views else None,
        skipped=skipped,
    )


def _note(given: str, known: str) -> str:
    """What was given, and what is known of the set's licence, unless that is in it: a command made from a record."""
    return given if known in given else f"{given}; {known}".removeprefix("; ")


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
        kinds = ", ".join(EXTENSIONS)
        print(f"left out {len(image_set.ignored)} file(s) hidden or not named as images ({kinds}): {shown}")


def _report_shared(shared: list[str]) -> None:
    if shared:
        shown = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        print(f"warning: {len(shared)} validation image(s) are also training images; accuracy is flattered: {shown}")
