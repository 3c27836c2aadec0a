"""The frozen backbone: ResNet18 without its last layer, with its own preprocessing and fingerprint.

In: the name of torchvision weights, or a file. Out: a :class:`Backbone`, images of shape (B, 3, 224, 224) → features of
shape (B, 512), float32.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torchvision import models

from features.download import download_weights
from features.errors import InputError, listing
from features.provenance import canonical_json, tensors_sha256

NAME = "resnet18"
# The preprocessing that weights from a file are taken to expect: that of torchvision's own.
PRESET = models.ResNet18_Weights.IMAGENET1K_V1


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen feature extractor.

    Attributes:
        name: Architecture, as torchvision calls it.
        model: In eval mode, its last layer replaced by the identity: (B, 3, H, W) float32 → (B, width) float32.
        width: Features an image.
        preprocess: From a PIL image to a (3, H, W) float32 tensor: resize, centre crop, normalise.
        transform: Canonical JSON of the preprocessing's parameters.
        weights: Name of the weights: torchvision's, or the file's.
        weights_sha256: Fingerprint of the tensors in use; see :func:`features.provenance.tensors_sha256`.
    """

    name: str
    model: nn.Module
    width: int
    preprocess: Callable[[Image.Image], torch.Tensor]
    transform: str
    weights: str
    weights_sha256: str


def load_backbone(weights: str) -> Backbone:
    """ResNet18 with the given weights, frozen and in eval mode.

    Args:
        weights: ``IMAGENET1K_V1``, or the path of a ``state_dict`` (.pth, .pt or .safetensors). The classifier ``fc``
            may have any number of classes or be absent: it is not used.

    Raises:
        DownloadError: if named weights can't be had.
        InputError: if the name is unknown, or the file is missing, unreadable or of another architecture.
    """
    if weights in models.ResNet18_Weights.__members__:
        state, name = download_weights(models.ResNet18_Weights[weights]), weights
    else:
        state, name = _read_state_dict(Path(weights).expanduser()), Path(weights).name

    with torch.random.fork_rng(devices=[]):
        model = models.resnet18(weights=None)
    width = model.fc.in_features
    model.fc = nn.Identity()
    state = {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}
    _refuse_other_architecture(model, state, weights)
    model.load_state_dict(state, strict=True)
    model.eval().requires_grad_(False)

    preprocess = PRESET.transforms()
    return Backbone(
        name=NAME,
        model=model,
        width=width,
        preprocess=preprocess,
        transform=_describe(preprocess),
        weights=name,
        weights_sha256=tensors_sha256(model.state_dict()),
    )


def _read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        names = list(models.ResNet18_Weights.__members__)
        near = get_close_matches(str(file), names, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{file} is neither a file nor one of torchvision's ResNet18 weights ({', '.join(names)}); "
            f"--weights (make: WEIGHTS=) takes one of both.{hint}"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file} holds more than tensors, and code in it is never run; "
            "save the weights alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file} can't be read as weights ({first_line}); is it whole?") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f"{file} is no `state_dict` (a flat mapping of names to tensors); save one: "
            "torch.save(model.state_dict(), FILE)"
        )
    return state


def _refuse_other_architecture(model: nn.Module, state: dict[str, torch.Tensor], weights: str) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in state.items()}
    problems = [f"missing: {key}" for key in wanted if key not in given]
    problems += [f"unexpected: {key}" for key in given if key not in wanted]
    problems += [
        f"{key}: shape {given[key]} instead of {wanted[key]}"
        for key in wanted
        if key in given and given[key] != wanted[key]
    ]
    if problems:
        raise InputError(
            f"{weights} holds no ResNet18 weights: {len(problems)} tensors differ from torchvision's resnet18:\n"
            f"{listing(problems)}\nGive a state_dict of torchvision.models.resnet18."
        )


def _describe(preprocess: Any) -> str:
    return canonical_json(
        {
            "resize": list(preprocess.resize_size),
            "crop": list(preprocess.crop_size),
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation.value,
            "antialias": preprocess.antialias,
        }
    )
