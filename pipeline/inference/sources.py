"""Where a run's images and weights are, and the flags of stage 1 that gave its features; other backbones are refused.

In: a run, and the user's flags; or the provenance of a feature cache. Out: an
:class:`features.sources.images.ImageSet`, the weights' file or name; or an ``ExtractConfig``.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from features.backbone.network import Backbone, is_named, load_backbone
from features.cache.packaged import PACKAGED
from features.cache.records import Provenance
from features.cache.store import verify_features
from features.config import ExtractConfig, ImportConfig
from features.exchange.bundled import BUNDLED
from features.sources.images import ImageSet, is_name, open_images
from features.util.errors import InputError
from pipeline.training.run import Run


def run_backbone(run: Run, given: str | None) -> Backbone:
    """The backbone of a run, cut behind the layer its head reads, with ``given`` weights, else with those its features
    were made with.

    Raises:
        InputError: if the weights can't be had, or no network made the features.
    """
    if run.features.provenance.imported:
        raise InputError(
            f"{rows_alone(run)}. "
            "Classify rows: python -m pipeline predict --features FILE (make: predict ARGS='--features FILE')"
        )
    layer = run.features.provenance.layer
    return load_backbone(run.features.provenance.backbone, find_weights(run, given), [layer.name] if layer else [])


def rows_alone(run: Run) -> str:
    """Why a run has neither pictures nor a network."""
    rows = importation(run.features.provenance, Path(run.features.path)).file
    return (
        f"the head in {run.path} was trained on rows that were imported from {rows}: there is no network for pictures"
    )


def refuse_other_backbone(run: Run, backbone: Backbone) -> None:
    """Raise an InputError unless ``backbone`` is the one whose features the head was trained on."""
    for name in ("backbone", "layer", "weights_sha256", "transform"):
        trained, given = (
            getattr(run.features.provenance, name),
            getattr(backbone, "name" if name == "backbone" else name),
        )
        if trained != given:
            raise InputError(
                f"the head in {run.path} was trained on features of {run.features.provenance.weights} "
                f"({name} {trained}), but {backbone.weights} has {name} {given}; give the weights it was trained "
                "with (--weights), make the features again with these, or accept the difference "
                "(--accept-other-weights)"
            )


def find_weights(run: Run, given: str | None) -> str:
    """Where the backbone's weights are: ``given``, else where the features were made with them.

    Raises:
        InputError: if a file is no longer there.
    """
    if given is not None:
        return given
    recorded: str = run.features.provenance.weights_location
    if is_named(run.features.provenance.backbone, recorded):
        return recorded
    path = located(run, recorded)
    if not path.is_file():
        raise InputError(
            f"the backbone's weights {run.features.provenance.weights} are not at {path}; give that file with "
            "--weights (make: WEIGHTS=). Where you don't have it, make a run with weights and images that you have: "
            "make eval OUT=NEW DATA=FOLDER WEIGHTS=FILE"
        )
    return str(path)


def find_images(run: Run, given: str | None, *, download: bool = True) -> ImageSet:
    """The images of stage 1, selected as they were then, from ``given`` or else from their recorded place.

    Args:
        run: The run.
        given: A folder, list or name from the user, if any.
        download: Whether a named set may be downloaded if it is not here yet.

    Raises:
        InputError: if they are no longer there, or can't be downloaded.
    """
    recorded = given or run.features.provenance.data_location
    if not is_name(recorded):
        path = Path(recorded).expanduser() if given else located(run, recorded)
        if not path.exists():
            raise InputError(
                f"the images of {run.features.provenance.data} are not at {path}; give the folder with --data (DATA=)"
            )
        recorded = str(path)
    return open_images(recorded, **run.features.provenance.selection.record(), download=download)


def located(run: Run, recorded: str) -> Path:
    """Resolve a path that a feature cache records: absolute, or relative to the cache's folder."""
    return Path(run.features.path).parent / recorded


def extraction(recorded: Provenance, cache: Path) -> ExtractConfig:
    """The flags of stage 1 that determine the features; images and weights are absolute paths or names.

    Args:
        recorded: The provenance of the cache.
        cache: The cache's path, from which recorded relative paths start.
    """
    packaged = verify_features(PACKAGED).provenance
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
    given.pop("features", None)
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
