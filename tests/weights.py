"""Weights as torchvision publishes them, offered by a server on this machine."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch
from conftest import Web
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def weights_at(address: str) -> WeightsEnum:
    class LocalWeights(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=address, transforms=partial(ImageClassification, crop_size=224), meta={})

    return LocalWeights.IMAGENET1K_V1


def offer(web: Web, content: bytes, name: str = "net-{}.pth") -> WeightsEnum:
    name = name.format(sha256(content)[:8])
    web.files[name] = content
    return weights_at(f"{web.url}/{name}")


def state_of(file: Path) -> dict[str, torch.Tensor]:
    """The tensors in a file."""
    return dict(torch.load(file, weights_only=True))
