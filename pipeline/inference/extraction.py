"""Rebuild the flags of stage 1 from recorded features: the same images, selection, network and precision.

In: the provenance of a feature cache, and where the cache lies. Out: an ``ExtractConfig``.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from features.cache.packaged import PACKAGED
from features.cache.records import Provenance
from features.cache.store import read_features
from features.config import ExtractConfig, ImportConfig
from features.exchange.bundled import BUNDLED


def extraction(recorded: Provenance, cache: Path) -> ExtractConfig:
    """The flags of stage 1 that determine the features; images and weights are absolute paths or names.

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
        split=selection.split,
        limit=selection.limit,
        classes=",".join(selection.classes or ()),
        seed=selection.seed if selection.seed is not None else views.seed if views else plain.seed,
        skip_bad=bool(recorded.skipped),
        backbone=recorded.backbone,
        layer=recorded.layer.name if recorded.layer else "",
        weights=_place(recorded.weights_location, cache, is_named(recorded.backbone, recorded.weights_location)),
        views=views.count if views else 0,
        dtype=recorded.dtype,  # type: ignore[arg-type]  # a text in files
        runtime=runtime.name if runtime else plain.runtime,  # type: ignore[arg-type]
        device=runtime.device if runtime else plain.device,  # type: ignore[arg-type]
        precision=recorded.precision,  # type: ignore[arg-type]
        note=recorded.note,
    )


def importation(recorded: Provenance, cache: Path) -> ImportConfig:
    """The flags of ``python -m features import`` that give the rows again; the file is an absolute path."""
    plain, drawn = ImportConfig(file=cache), recorded.selection
    given = json.loads(recorded.transform)
    standardize = given.pop("scaling", None) is not None
    return replace(
        plain,
        file=Path(_place(recorded.data_location, cache, BUNDLED.claims(Path(recorded.data_location)))),
        standardize=standardize,
        split=drawn.split,
        seed=plain.seed if drawn.seed is None else drawn.seed,
        dtype=recorded.dtype,  # type: ignore[arg-type]  # a text in files
        note=recorded.note,
        **given,
    )


def _place(recorded: str, cache: Path, named: bool) -> str:
    return recorded if named else os.path.normpath((cache.parent / recorded).absolute())
