"""The frozen backbone: a torchvision classification model without its last layer, its preprocessing, its fingerprint.

In: the name of the model, and that of weights, or a file of them. Out: a :class:`Backbone`, images of shape
(B, 3, H, W) → features of shape (B, width), float32.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from features.backbone.preprocess import Preprocess
from features.backbone.vision import models
from features.sources.download import download_weights
from features.util.errors import InputError, first_line, listing
from features.util.provenance import tensors_sha256

DEFAULT = "resnet18"


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen feature extractor.

    Attributes:
        name: Architecture, as torchvision calls it.
        model: In eval mode, its last layer replaced by the identity: (B, 3, H, W) float32 → (B, width) float32.
        head_at: Dotted name of that identity: where a head goes.
        width: Features an image.
        preprocess: From a PIL image to a (3, H, W) float32 tensor: resize, centre crop, normalise.
        transform: Canonical JSON of the preprocessing's parameters.
        weights: Name of the weights: torchvision's, or the file's.
        weights_sha256: Fingerprint of the tensors in use; see :func:`features.util.provenance.tensors_sha256`.
    """

    name: str
    model: nn.Module
    head_at: str
    width: int
    preprocess: Preprocess
    transform: str
    weights: str
    weights_sha256: str


def load_backbone(backbone: str, weights: str) -> Backbone:
    """A torchvision model with the given weights, without its classification layer, frozen and in eval mode.

    Args:
        backbone: One of :func:`backbone_names`.
        weights: One of :func:`weight_names`, or the path of a ``state_dict`` (.pth, .pt or .safetensors). Its
            classification layer may have any number of classes or be absent, and so may auxiliary classifiers: they are
            not used. A file's images are prepared as for the first of the named weights.

    Raises:
        DownloadError: if named weights can't be had.
        InputError: if a name is unknown, or the file is missing, unreadable or of another architecture.
    """
    if is_named(backbone, weights):
        known = _known_weights(backbone)[weights]
        state, name = download_weights(known), weights
    else:
        known = next(iter(_known_weights(backbone).values()))
        state, name = _read_state_dict(Path(weights).expanduser(), backbone), Path(weights).name

    preset = known.transforms()
    model, layer = _build(backbone, preset.crop_size[0])
    head_at, width = _remove(model, layer)
    state = _translate(state, model, layer)
    _refuse_other_architecture(model, state, backbone, weights)
    model.load_state_dict(state, strict=True, assign=True)
    model.eval().requires_grad_(False)

    preprocess = Preprocess(preset)
    return Backbone(
        name=backbone,
        model=model,
        head_at=head_at,
        width=width,
        preprocess=preprocess,
        transform=preprocess.description,
        weights=name,
        weights_sha256=tensors_sha256(model.state_dict()),
    )


def backbone_names() -> list[str]:
    """All classification models of torchvision."""
    return sorted(models.list_models(module=models))


def weight_names(backbone: str) -> list[str]:
    """The named weights of a model, the oldest first.

    Raises:
        InputError: if there is no such model.
    """
    return list(_known_weights(backbone))


def is_named(backbone: str, weights: str) -> bool:
    """Whether these are weights that torchvision knows by name; else they are a file.

    Raises:
        InputError: if there is no such model.
    """
    return weights in _known_weights(backbone)


def list_backbones() -> str:
    """A table of all models: width, image size, millions of parameters without the classification layer, weights."""
    lines = [f"{'backbone':20} {'features':>8} {'pixels':>6} {'parameters':>10}  weights"]
    for name in backbone_names():
        known = _known_weights(name)
        crop = next(iter(known.values())).transforms().crop_size[0]
        model, layer = _build(name, crop)
        _, width = _remove(model, layer)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        lines.append(f"{name:20} {width:8} {crop:6} {millions:8.1f} M  {', '.join(known)}")
    return "\n".join(lines)


def _known_weights(backbone: str) -> dict[str, Any]:
    if backbone not in backbone_names():
        near = get_close_matches(backbone.lower().replace("-", "_"), backbone_names())
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise InputError(
            f"{backbone} is no classification model of torchvision; --backbone (make: BACKBONE=) takes one of those "
            f"that `python -m features --list-backbones` lists.{hint}"
        )
    # Iterating leaves out the alias DEFAULT, whose meaning may change. Weights without categories (a VGG for style
    # transfer) hold no values for the layers below the classification.
    return {known.name: known for known in models.get_model_weights(backbone) if known.meta["categories"]}


# Named weights of these were trained on images scaled otherwise, which the model makes up for itself; their auxiliary
# classifiers serve training alone.
_INCEPTION = {"transform_input": True, "aux_logits": False, "init_weights": False}
_AUXILIARY = re.compile(r"(aux1|aux2|AuxLogits)\.")
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}


class _WithoutValues(TorchFunctionMode):
    """While a model is built: parameters take neither memory nor initial values; theirs come from a file.

    ``with torch.device("meta")`` can't build a RegNet, which computes its widths with tensors.
    """

    _NAMES = ("normal_", "uniform_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_")
    INITIALISERS = tuple(getattr(Tensor, name) for name in _NAMES)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.empty:
            return function(*args, **{**(kwargs or {}), "device": "meta"})
        if function in self.INITIALISERS and args[0].is_meta:
            return args[0]
        return function(*args, **(kwargs or {}))


def _build(backbone: str, image_size: int) -> tuple[nn.Module, str]:
    """The model, its parameters without values, and the name of its classification layer."""
    options = _OPTIONS.get(backbone, {})
    if backbone.startswith("vit"):
        options = {"image_size": image_size}
    with _WithoutValues():
        model = models.get_model(backbone, weights=None, **options)
    # SqueezeNet alone classifies by a convolution.
    kind = nn.Conv2d if backbone.startswith("squeezenet") else nn.Linear
    return model, [name for name, layer in model.named_modules() if isinstance(layer, kind)][-1]


def _remove(model: nn.Module, layer: str) -> tuple[str, int]:
    """Replace the classification layer by the identity. Returns where that is, and the features that arrive there."""
    last = model.get_submodule(layer)
    if isinstance(last, nn.Conv2d):
        # Its class scores are pooled over the image; here the maps that it reads are.
        pooled = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Identity())
        model.set_submodule("classifier", pooled)
        return "classifier.3", last.in_channels
    assert isinstance(last, nn.Linear)
    model.set_submodule(layer, nn.Identity())
    return layer, last.in_features


def _translate(state: Mapping[str, Tensor], model: nn.Module, layer: str) -> OrderedDict[str, Tensor]:
    """A file's tensors under today's names, in the model's own precision, without those that are not used."""
    wanted = model.state_dict()
    # Counters that evaluation never reads; files from before PyTorch 0.4.1, torchvision's among them, lack them.
    counters = [key for key in wanted if key.endswith("num_batches_tracked")]
    translated: OrderedDict[str, Tensor] = OrderedDict((key, torch.tensor(0)) for key in counters)
    for key, tensor in state.items():
        if key.startswith(f"{layer}.") or (_AUXILIARY.match(key) and key not in wanted):
            continue
        # DenseNet files from before PyTorch 0.4 name a layer `norm.1`, which may no longer hold a dot.
        key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
        translated[key] = tensor.to(wanted[key].dtype).contiguous() if key in wanted else tensor
    # MNASNet tells an older layout of its files by a version among the metadata.
    translated._metadata = getattr(state, "_metadata", wanted._metadata)  # type: ignore[attr-defined]
    return translated


def _read_state_dict(file: Path, backbone: str) -> Mapping[str, Tensor]:
    if not file.is_file():
        names = weight_names(backbone)
        near = get_close_matches(str(file), names, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"{file} is neither a file nor one of torchvision's {backbone} weights ({', '.join(names)}); "
            f"--weights (make: WEIGHTS=) takes a file or one of these names.{hint}"
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
        raise InputError(f"{file} can't be read as weights ({first_line(error)}); is it whole?") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(
            f"{file} is no `state_dict` (a flat mapping of names to tensors); save one: "
            "torch.save(model.state_dict(), FILE)"
        )
    return state


def _refuse_other_architecture(model: nn.Module, state: Mapping[str, Tensor], backbone: str, weights: str) -> None:
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
            f"{weights} holds no {backbone} weights: {len(problems)} tensors differ from torchvision's {backbone}:\n"
            f"{listing(problems)}\nGive a state_dict of torchvision.models.{backbone}, or name its --backbone."
        )
