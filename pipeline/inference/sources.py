"""Where a run's images and weights are: named by a flag, else where stage 1 had them.

In: a run, and what the user named. Out: an :class:`features.sources.images.ImageSet`, or the weights' file or name.
"""

from __future__ import annotations

from pathlib import Path

from features.backbone.network import Backbone, is_named, load_backbone
from features.sources.images import ImageSet, is_name, open_images
from features.util.errors import InputError
from pipeline.training.run import Run


def run_backbone(run: Run, given: str | None) -> Backbone:
    """The backbone of a run, with ``given`` weights, else with those its features were made with.

    Raises:
        InputError: if the weights can't be had.
    """
    return load_backbone(run.features.provenance.backbone, find_weights(run, given))


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
    """The images that were given to stage 1: chosen as they were then, among those of ``given``, else of where they
    were.

    Args:
        run: The run.
        given: What the user named, if anything.
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
    """A path as a feature cache records it: absolute, or told from the cache's own folder."""
    return Path(run.features.path).parent / recorded
