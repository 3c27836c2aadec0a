"""Find a run's images and weights: where a flag names them, else where stage 1 read them; refuse others.

In: a run, and the user's flags. Out: an :class:`features.sources.images.ImageSet`, or the weights' file or name.
"""

from __future__ import annotations

from pathlib import Path

from features.backbone.network import Backbone, is_named, load_backbone
from features.sources.images import ImageSet, is_name, open_images
from features.util.errors import InputError
from pipeline.inference.extraction import importation
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
