"""The reunion: a trained head on the backbone that made its features.

In: a run, and the backbone's weights. Out: one network, images of shape (B, 3, H, W) → logits of shape (B, n_classes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from features.backbone import Backbone, is_named
from features.errors import InputError
from features.images import UNREADABLE, ImageSet, decode, is_name, open_images
from pipeline.run import Run, Which


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network says of one picture: a class and the probability of every class, or why it could not be read."""

    path: Path
    label: str | None = None
    probabilities: tuple[float, ...] = ()
    problem: str | None = None


def reattach(run: Run, backbone: Backbone, which: Which = "last", *, other_weights: bool = False) -> nn.Module:
    """The whole network: ``backbone.model`` with the trained head as its last layer (``fc`` in a ResNet).

    Args:
        run: A finished run.
        backbone: The frozen network, which is changed in place.
        which: The epoch whose head is wanted.
        other_weights: Accept a backbone other than the one that made the features.

    Raises:
        InputError: if the backbone is another one, or of another width.
    """
    if not other_weights:
        refuse_other_backbone(run, backbone)
    if backbone.width != run.features["width"]:
        raise InputError(
            f"the head takes {run.features['width']} features, {backbone.name} gives {backbone.width}; "
            "train a head on this backbone's features"
        )
    backbone.model.set_submodule(backbone.head_at, run.head(which))
    return backbone.model.eval()


def refuse_other_backbone(run: Run, backbone: Backbone) -> None:
    """Raise an InputError unless ``backbone`` is the one whose features the head was trained on."""
    for name in ("backbone", "weights_sha256", "transform"):
        trained, given = run.features[name], getattr(backbone, "name" if name == "backbone" else name)
        if trained != given:
            raise InputError(
                f"the head in {run.path} was trained on features of {run.features['weights']} "
                f"({name} {trained}), but {backbone.weights} has {name} {given}; give the weights it was trained "
                "with (--weights), make the features again with these, or accept the difference with --other-weights"
            )


def find_weights(run: Run, given: str | None) -> str:
    """Where the backbone's weights are: ``given``, else where the features were made with them.

    Raises:
        InputError: if a file is no longer there.
    """
    if given is not None:
        return given
    recorded: str = run.features["weights_location"]
    if is_named(run.features["backbone"], recorded):
        return recorded
    path = located(run, recorded)
    if not path.is_file():
        raise InputError(
            f"the backbone's weights {run.features['weights']} are not at {path}; give the file with --weights "
            "(make: WEIGHTS=)"
        )
    return str(path)


def find_images(run: Run, given: str | None) -> ImageSet:
    """The images that were given to stage 1: chosen as they were then, among those of ``given``, else of where they
    were.

    Raises:
        InputError: if they are no longer there, or can't be downloaded.
    """
    recorded = given or run.features["data_location"]
    if not is_name(recorded):
        path = Path(recorded).expanduser() if given else located(run, recorded)
        if not path.exists():
            raise InputError(
                f"the images of {run.features['data']} are not at {path}; give the folder with --data (DATA=)"
            )
        recorded = str(path)
    # Caches made before there was a choice record none.
    return open_images(recorded, **run.features.get("selection", {}))


def located(run: Run, recorded: str) -> Path:
    """A path as a feature cache records it: absolute, or told from the cache's own folder."""
    return Path(run.features["path"]).parent / recorded


def predict(
    model: nn.Module, backbone: Backbone, classes: list[str], paths: list[Path], batch: int = 16
) -> list[Prediction]:
    """Classify pictures with the whole network, in batches, with a progress bar.

    An unreadable picture gets a :attr:`Prediction.problem`; the rest are classified.
    """
    from tqdm import tqdm

    predictions = []
    with tqdm(total=len(paths), unit="image", desc="predict", disable=None) as bar:
        for start in range(0, len(paths), batch):
            predictions += _predict_batch(model, backbone, classes, paths[start : start + batch])
            bar.update(len(paths[start : start + batch]))
    return predictions


def _predict_batch(model: nn.Module, backbone: Backbone, classes: list[str], paths: list[Path]) -> list[Prediction]:
    pixels: dict[Path, torch.Tensor] = {}
    problems: dict[Path, str] = {}
    for path in paths:
        try:
            pixels[path] = backbone.preprocess(decode(path.read_bytes()))
        except UNREADABLE as error:
            problems[path] = str(error) or type(error).__name__
    rows = []
    if pixels:
        with torch.inference_mode():
            rows = model(torch.stack(list(pixels.values()))).softmax(dim=1).tolist()
    found = dict(zip(pixels, rows, strict=True))
    return [
        Prediction(path=path, problem=problems[path])
        if path in problems
        else Prediction(path=path, label=classes[found[path].index(max(found[path]))], probabilities=tuple(found[path]))
        for path in paths
    ]
