"""timm's networks as a :class:`Library`: ``--backbone timm:NAME`` (the extra ``timm``).

Weights are tags of timm's own (``a1_in1k``), downloaded from the Hugging Face hub; or a folder that
``timm.models.save_for_hf`` wrote, whose ``config.json`` says how pictures are prepared; or a file.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from features.backbone.library import Library, NamedWeights, Network, State, in_precision_of
from features.sources.download import DownloadError
from features.util.errors import InputError, first_line, need


def _timm() -> Any:
    return need("timm", "timm's networks need")


def _weights(name: str) -> dict[str, NamedWeights]:
    models = _timm().models
    known = {full.partition(".")[2]: config for full, config in models.get_arch_pretrained_cfgs(name).items()}
    return {
        tag or "none": NamedWeights(preset=partial(_preset, name, vars(config)), fetch=partial(_fetch, name, tag))
        for tag, config in known.items()
    }


def _preset(name: str, config: dict[str, Any]) -> SimpleNamespace:
    """How timm's evaluation prepares pictures, in the words of torchvision's presets."""
    size, mode = config["input_size"][-1], config.get("crop_mode") or "center"
    if mode == "border":
        raise InputError(f"timm prepares pictures for {name} by padding them, which is not done here; take another")
    resized = math.floor(size / (config.get("crop_pct") or 0.875))
    return SimpleNamespace(
        resize_size=[resized] * (2 if mode == "squash" else 1),
        crop_size=[size],
        interpolation=SimpleNamespace(value=config.get("interpolation") or "bilinear"),
        mean=config["mean"],
        std=config["std"],
        antialias=True,
    )


def _fetch(name: str, tag: str) -> State:
    try:
        return _timm().create_model(f"{name}.{tag}" if tag else name, pretrained=True).state_dict()
    except Exception as error:  # the hub raises dozens of kinds
        raise DownloadError(f"timm's weights {tag} of {name} can't be had ({first_line(error)})") from error


def _folder(name: str, folder: Path) -> NamedWeights:
    """The weights in a folder of timm's own format."""
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = saved["pretrained_cfg"]
        other = saved["architecture"] != name
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} is no folder of timm's: config.json ({first_line(error)})") from error
    if other:
        raise InputError(f"{folder} holds weights of timm:{saved['architecture']}, not of timm:{name}")
    return NamedWeights(preset=partial(_preset, name, config), fetch=partial(_saved, folder))


def _saved(folder: Path) -> State:
    from safetensors.torch import load_file

    try:
        if (folder / "model.safetensors").exists():
            return load_file(folder / "model.safetensors")
        return torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        raise InputError(f"{folder} holds no weights that can be read ({first_line(error)})") from error


def _build(name: str, image_size: int) -> Network:
    timm = _timm()
    config = timm.models.get_pretrained_cfg(name)
    fixed = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model(name, pretrained=False, num_classes=0, **fixed)
    layer = model.pretrained_cfg["classifier"]
    layers = (layer,) if isinstance(layer, str) else tuple(layer)  # distilled networks have two
    width = getattr(model, "head_hidden_size", None) or model.num_features
    return Network(model=model, head_at=layers[0], width=width, translate=partial(_translate, model, layers))


def _translate(model: torch.nn.Module, layers: tuple[str, ...], state: State) -> State:
    """A file's tensors in the model's own precision, without the layers of classes."""
    wanted = model.state_dict()
    dropped = tuple(f"{layer}." for layer in layers)
    return in_precision_of(wanted, {k: t for k, t in state.items() if k in wanted or not k.startswith(dropped)})


TIMM = Library(
    title="timm",
    names=lambda: _timm().list_models(),
    weights=_weights,
    build=_build,
    folder=_folder,
    note="any network of timm (pip install timm): timm.list_models()",
)
