"""How stage 1 is asked for the features that are recorded: the same images, choice, network and precision.

In: the provenance of a feature cache, and where the cache lies. Out: an ``ExtractConfig``.
"""

from __future__ import annotations

import os
from pathlib import Path

from features.cache.featureset import Provenance
from features.cache.store import read_features
from features.config import ExtractConfig
from features.sources.packaged import PACKAGED


def extraction(recorded: Provenance, cache: Path) -> ExtractConfig:
    """What stage 1 was told, as far as it shapes the features; images and weights are absolute paths or names.

    Args:
        recorded: The provenance of the cache.
        cache: The cache's path, from which recorded relative paths start.
    """
    from features.backbone.network import is_named
    from features.sources.images import is_name

    packaged = read_features(PACKAGED).provenance
    if (recorded.created, recorded.images_sha256) == (packaged.created, packaged.images_sha256):
        return ExtractConfig(offline=True)
    plain = ExtractConfig()
    selection, views, runtime = recorded.selection, recorded.views, recorded.runtime
    return ExtractConfig(
        data=_place(recorded.data_location, cache, is_name(recorded.data_location)),
        split=selection.get("split"),
        limit=selection.get("limit"),
        classes=",".join(selection.get("classes", ())),
        seed=selection.get("seed", views.get("seed", plain.seed)),
        skip_bad=bool(recorded.skipped),
        backbone=recorded.backbone,
        weights=_place(recorded.weights_location, cache, is_named(recorded.backbone, recorded.weights_location)),
        views=views.get("count", 0),
        dtype=recorded.dtype,  # type: ignore[arg-type]  # a text in files
        runtime=runtime.get("name", plain.runtime),
        device=runtime.get("device", plain.device),
        precision=runtime.get("precision", plain.precision),
        note=recorded.note,
    )


def _place(recorded: str, cache: Path, named: bool) -> str:
    return recorded if named else os.path.normpath((cache.parent / recorded).absolute())
