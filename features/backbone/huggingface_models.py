"""Image models of Hugging Face's transformers as a :class:`Library`: ``--backbone hf:REPOSITORY`` (the extra ``hf``).

A repository is a name on the hub (``openai/clip-vit-base-patch32``) or a folder that ``save_pretrained`` wrote, of the
model and of its image processor. Of models with text and images, the image's embedding is taken.
"""

from __future__ import annotations

import json
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image, ImageFilter
from torch import nn

from features.backbone.library import Library, NamedWeights, Network, State, in_precision_of
from features.backbone.preprocess import Preprocess
from features.sources.download import DownloadError
from features.util.errors import InputError, first_line, need

MAIN = "main"
"""The one name of a repository's weights."""
_FILTERS = {2: "bilinear", 3: "bicubic"}
_TRIAL_SIZES = (401, 300), (300, 403), (513, 512)


class ImageFeatures(nn.Module):
    """(B, 3, H, W) → (B, width): a model's embedding of each image.

    Args:
        model: A model of transformers.

    Attributes:
        head: The identity where a head goes.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Identity()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The pooled output; of models without one, the mean over the last layer's tokens."""
        embed: Any = getattr(self.model, "get_image_features", self.model)
        found = embed(pixel_values=pixels)
        if not isinstance(found, torch.Tensor):
            pooled = getattr(found, "pooler_output", None)
            found = found.last_hidden_state.mean(dim=1) if pooled is None else pooled
        return self.head(found.flatten(1))


def _transformers() -> Any:
    return need("transformers", "Hugging Face's models need")


def _had(repository: str, kind: str) -> Any:
    """A configuration, a processor or a model of a repository; kind is the class of transformers that reads it."""
    try:
        return getattr(_transformers(), kind).from_pretrained(repository)
    except InputError:
        raise
    except Exception as error:  # the hub and transformers raise dozens of kinds
        raise DownloadError(f"{kind} of {repository} can't be had ({first_line(error)})") from error


def _weights(repository: str) -> dict[str, NamedWeights]:
    return {MAIN: NamedWeights(preset=partial(_preset, repository), fetch=partial(_fetch, repository))}


@cache
def _preset(repository: str) -> SimpleNamespace:
    """How the repository's own processor prepares pictures, in the words of torchvision's presets.

    Raises:
        InputError: if ours makes something else of a trial picture than the processor.
    """
    processor = _had(repository, "AutoImageProcessor")
    size, crop = dict(processor.size), getattr(processor, "crop_size", None)
    share = getattr(processor, "crop_pct", None)
    resized = [size["shortest_edge"]] if size.get("shortest_edge") else [size["height"], size["width"]]
    cropped = [crop["height"]] if crop and getattr(processor, "do_center_crop", False) else resized
    if share is not None:  # ConvNeXt: a square from 384 pixels on, else a crop of a larger picture
        resized = [*cropped, *cropped] if cropped[0] >= 384 else [int(cropped[0] / share)]
    preset = SimpleNamespace(
        resize_size=resized,
        crop_size=cropped[:1],
        interpolation=SimpleNamespace(value=_FILTERS.get(processor.resample, "bilinear")),
        mean=processor.image_mean,
        std=processor.image_std,
        antialias=True,
        crops_down=True,
    )
    if not all(_prepared_alike(Preprocess(preset), processor, size) for size in _TRIAL_SIZES):
        raise InputError(
            f"{repository} prepares pictures in a way that is not done here: {processor.to_json_string()}\nMake the "
            "features with it yourself, and import them: python -m features import --help"
        )
    return preset


def _prepared_alike(ours: Preprocess, processor: Any, size: tuple[int, int]) -> bool:
    """Whether both make the same of a picture, but for the rounding of a resized one to grey levels."""
    picture = Image.effect_noise(size, 80).convert("RGB").filter(ImageFilter.GaussianBlur(2))
    made = ours(picture)
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    return made.shape == theirs.shape and bool((made - theirs).abs().max() <= 2.5 / 255 / min(processor.image_std))


def _fetch(repository: str) -> State:
    return {f"model.{key}": tensor for key, tensor in _had(repository, "AutoModel").state_dict().items()}


def _build(repository: str, image_size: int) -> Network:
    return _of_config(_had(repository, "AutoConfig"), image_size)


def _rebuild(architecture: dict[str, Any], image_size: int) -> Network:
    """A network from its recorded configuration, without its repository."""
    kind = type(_transformers().AutoConfig.for_model(architecture["model_type"]))
    return _of_config(kind.from_dict(architecture), image_size)


def _of_config(config: Any, image_size: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        network = ImageFeatures(_transformers().AutoModel.from_config(config)).eval()
    with torch.inference_mode():
        width = network(torch.zeros(1, 3, image_size, image_size)).shape[1]
    return Network(
        model=network,
        head_at="head",
        width=width,
        translate=partial(_translate, network),
        prefix="model.",
        architecture=json.loads(config.to_json_string(use_diff=False)),
    )


def _translate(network: nn.Module, state: State) -> State:
    named = {key if key.startswith("model.") else f"model.{key}": tensor for key, tensor in state.items()}
    return in_precision_of(network.state_dict(), named)


HUGGING_FACE = Library(
    title="Hugging Face",
    names=None,
    weights=_weights,
    build=_build,
    rebuild=_rebuild,
    note="any image model on the Hugging Face hub, or in a folder (pip install transformers)",
)
