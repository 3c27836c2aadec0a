"""The cache that ``--out`` names: may it be written, what is there already, is that up to date?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from features.cache.featureset import FeatureFile, FeatureSet
from features.cache.pieces import shard_pattern, shards_beside
from features.cache.records import Provenance
from features.cache.store import DamagedCache, NotACache, as_one, open_cache, shard_files, verify_file
from features.cache.writer import join
from features.sources.catalogue import SPLITS
from features.sources.check import images_sha256, images_sha256_before_format_3
from features.sources.images import ImageSet
from features.util.errors import InputError


def refuse_target(out: Path, *, shards: bool) -> None:
    """Refuse a target before any work is done for it.

    Raises:
        InputError: if it is a folder, can't be written, or if a folder stands in its place.
    """
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file, for example {out / 'features.h5'}")
    if "*" in out.name:
        raise InputError(f"--out {out} has a * in its name; name one file, which also names its shards (--shards)")
    existing = next(parent for parent in out.absolute().parents if parent.exists())
    if not existing.is_dir():
        raise InputError(f"--out {out} lies below {existing}, which is a file; name another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {out} can't be written: {existing} is read-only; name another place")
    for entry in shards_beside(out) if shards else ():
        if entry.is_dir():
            raise InputError(f"{entry} is a folder, where a shard of --out {out} belongs; name another file")


def existing_cache(out: Path, *, shards: bool) -> FeatureFile | None:
    """The whole cache that is there already; None where there is none, or, with the reason printed, a damaged one.

    Raises:
        InputError: if a file in its place is not this program's to replace.
    """
    files = shards_beside(out) if shards else [out] if out.exists() else []
    verified = []
    for file in files:
        try:
            verified.append(verify_file(file))
        except NotACache as error:
            raise InputError(f"{error}\n--out names a file that is not this program's to replace.") from error
        except DamagedCache as error:
            print(f"making the features again: {error}")
    if not files or len(verified) < len(files):
        return None
    try:
        return as_one(shard_pattern(out) if shards else out, verified)
    except InputError:  # shards of which some are missing
        if not shards:
            raise
    return None


def differences(
    existing: FeatureFile, wanted: Provenance, image_set: ImageSet, digests: Mapping[str, str]
) -> list[str]:
    """How a cache differs from the wanted one; empty if it is up to date.

    Args:
        existing: The cache.
        wanted: What it should be made from; its runtime gives the precision.
        image_set: The images.
        digests: SHA-256 of each, in hex, by path.
    """
    there = existing.provenance
    stale = [noun for name, noun in _DECISIVE.items() if getattr(there, name) != getattr(wanted, name)]
    return stale if same_images(existing, image_set, digests) else ["images, labels or splits", *stale]


# Fields that must agree, with their names in messages.
_DECISIVE = {
    "backbone": "backbone",
    "layer": "layer",
    "weights_sha256": "weights",
    "transform": "transform",
    "dtype": "dtype",
    "precision": "precision",
    "views": "views",
}


def same_images(features: FeatureFile | FeatureSet, image_set: ImageSet, digests: Mapping[str, str]) -> bool:
    """Whether features were made from these very images, with these labels and splits, in this order.

    Args:
        features: The cache.
        image_set: The images.
        digests: SHA-256 of each, in hex, by path.
    """
    recorded = features.provenance.images_sha256
    if recorded == images_sha256(image_set, digests):
        return True
    # The fingerprint in formats 1 and 2 covers no labels, but their rows have them.
    return (
        recorded == images_sha256_before_format_3(image_set, digests)
        and features.provenance.classes == image_set.classes
        and _labelled(features) == {split: (image_set.paths[split], image_set.labels[split]) for split in SPLITS}
    )


def with_places(existing: FeatureFile, wanted: Provenance) -> FeatureFile:
    """The same content with today's places of images and weights, where stage 3 looks for them."""
    names = ("data", "data_location", "weights", "weights_location", "selection", "skipped")
    places = {name: getattr(wanted, name) for name in names}
    if replace(existing.provenance, **places) == existing.provenance or "*" in existing.path.name:
        return existing
    current = replace(existing.provenance, **places, images_sha256=wanted.images_sha256)
    return join(existing.path, [existing.path], current, existing.known_as)


def with_earlier_names(made: FeatureFile, replaced: FeatureFile | None) -> FeatureFile:
    """The same content, which keeps the fingerprints by which earlier versions knew it: their runs are of it still."""
    if replaced is None or replaced.content_sha256 != made.content_sha256 or "*" in made.path.name:
        return made
    return join(made.path, [made.path], made.provenance, replaced.known_as) if replaced.known_as else made


def _labelled(features: FeatureFile | FeatureSet) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Paths and labels of each split."""
    if isinstance(features, FeatureSet):
        return {name: (split.paths, tuple(split.labels.tolist())) for name, split in features.splits.items()}
    found: dict[str, tuple[list[str], list[np.ndarray]]] = {split: ([], []) for split in SPLITS}
    for file in shard_files(features.path):
        with open_cache(file) as cache:
            for split in set(SPLITS) & set(cache):
                found[split][0].extend(path.decode() for path in cache[split]["paths"][()].tolist())
                found[split][1].append(cache[split]["labels"][()])
    return {split: (tuple(paths), tuple(np.concatenate(labels).tolist())) for split, (paths, labels) in found.items()}
