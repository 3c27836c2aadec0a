"""torchvision's classification models as a :class:`Library`."""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from features.backbone.library import Library, NamedWeights, Network, State, in_precision_of
from features.backbone.vision import models
from features.sources.download import download_weights

# The named weights of these two were trained on images of another scale, to which ``transform_input`` converts. Their
# auxiliary classifiers serve training alone.
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


def _build(name: str, image_size: int) -> Network:
    options = {"image_size": image_size} if name.startswith("vit") else _OPTIONS.get(name, {})
    with _WithoutValues():
        model = models.get_model(name, weights=None, **options)
    # SqueezeNet alone classifies by a convolution.
    kind = nn.Conv2d if name.startswith("squeezenet") else nn.Linear
    layer = [name for name, module in model.named_modules() if isinstance(module, kind)][-1]
    head_at, width = _remove(model, layer)
    return Network(model=model, head_at=head_at, width=width, translate=partial(_translate, model, layer))


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


def _translate(model: nn.Module, layer: str, state: State) -> State:
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
        translated |= in_precision_of(wanted, {key: tensor})
    # MNASNet tells an older layout of its files by a version among the metadata.
    translated._metadata = getattr(state, "_metadata", wanted._metadata)  # type: ignore[attr-defined]
    return translated


def _weights(name: str) -> dict[str, NamedWeights]:
    # Iterating leaves out the alias DEFAULT, whose meaning may change. Weights without categories (a VGG for style
    # transfer) hold no values for the layers below the classification.
    known = [each for each in models.get_model_weights(name) if each.meta["categories"]]
    return {each.name: NamedWeights(preset=each.transforms, fetch=partial(download_weights, each)) for each in known}


TORCHVISION = Library(
    title="torchvision", names=lambda: sorted(models.list_models(module=models)), weights=_weights, build=_build
)
