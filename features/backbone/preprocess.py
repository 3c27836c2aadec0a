"""From a picture to the network's input: torchvision's preset, its geometry and its normalisation apart.

In: an RGB picture. Out: its pixels, (3, H, W) uint8, made in a decoding thread; and from a batch of pixels, beside the
network, the float32 (B, 3, H, W), which takes four times the bytes.
"""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from features.util.provenance import canonical_json

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess:
    """Resize, centre crop, normalise: bit for bit what the preset makes of an RGB picture, in less time.

    Args:
        preset: The ``transforms()`` of torchvision classification weights, or the like: two numbers in ``resize_size``
            are height and width; an attribute ``crops_down`` says that half a pixel before the crop is rounded down.
    """

    def __init__(self, preset: Any) -> None:
        self.resize = int(preset.resize_size[0])
        self._squashed = tuple(preset.resize_size[::-1]) if len(preset.resize_size) == 2 else None
        self.crop = int(preset.crop_size[0])
        self._crops_down = getattr(preset, "crops_down", False)
        self._filter = FILTERS[preset.interpolation.value]
        self._mean = torch.tensor(preset.mean)[:, None, None]
        self._std = torch.tensor(preset.std)[:, None, None]
        self.description = canonical_json(
            {
                "resize": list(preset.resize_size),
                "crop": list(preset.crop_size),
                "mean": list(preset.mean),
                "std": list(preset.std),
                "interpolation": preset.interpolation.value,
                "antialias": preset.antialias,
            }
            | ({"crops_down": True} if self._crops_down else {})
        )

    @classmethod
    def described(cls, description: str) -> Preprocess:
        """The preprocessing that has this :attr:`description`.

        Raises:
            KeyError, ValueError: if it describes none.
        """
        values = json.loads(description)
        return cls(
            SimpleNamespace(
                resize_size=values["resize"],
                crop_size=values["crop"],
                mean=values["mean"],
                std=values["std"],
                interpolation=SimpleNamespace(value=values["interpolation"]),
                antialias=values["antialias"],
                crops_down=values.get("crops_down", False),
            )
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crop."""
        return self.crop, self.crop

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The network's input for one RGB picture, (3, H, W) float32."""
        return self.normalise(torch.from_numpy(self.pixels(image)))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(…, 3, H, W) uint8 → float32, on the device of ``pixels``, in the preset's own order of operations."""
        mean, std = (values.to(pixels.device, non_blocking=True) for values in (self._mean, self._std))
        return pixels.to(torch.float32).div(255).sub(mean).div(std)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An RGB picture with its short side, or both, resized to ``resize``, its centre cropped: (3, H, W) uint8."""
        width, height = self._resized(image.size)
        half = math.floor if self._crops_down else round
        left, top = half((width - self.crop) / 2), half((height - self.crop) / 2)
        # The whole picture, though only its centre is kept: given the centre as a `box`, Pillow rounds that to float32
        # and lays the filter at slightly other places.
        resized = image.resize((width, height), self._filter)
        return _channels_first(resized.crop((left, top, left + self.crop, top + self.crop)))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        if self._squashed is not None:
            return self._squashed
        width, height = size
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize

    def view(self, image: Image.Image, rng: np.random.Generator) -> np.ndarray:
        """One random view of an RGB picture, (3, H, W) uint8: a part of it resized to the crop's size, half of the
        time mirrored, as the demo's commented-out ``RandomResizedCrop`` and ``RandomHorizontalFlip`` make it.

        All randomness comes from ``rng``, so that a view is reproducible whichever thread makes it.

        References:
            C. Szegedy et al., "Going Deeper with Convolutions" (2015), section 6.
        """
        part = image.crop(random_box(*image.size, rng)).resize(self.size[::-1], self._filter)
        if rng.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _channels_first(part)


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random part of a picture as (left, top, right, bottom), distributed as torchvision's ``RandomResizedCrop``
    draws it: 8 to 100 % of the area, sides in a ratio of 3/4 to 4/3, log-uniformly; after ten parts that do not fit,
    the largest centred one of an allowed ratio."""
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            left = int(rng.integers(width - part_width, endpoint=True))
            top = int(rng.integers(height - part_height, endpoint=True))
            return left, top, left + part_width, top + part_height
    part_width, part_height = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def _channels_first(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1).copy()
