"""A heat map laid over the pixels that the network saw, and what it shows in words.

In: pixels and heat. Out: a picture, or a sentence for those who can't see it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

THIRDS = ("top", "middle", "bottom"), ("left", "centre", "right")


def overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """The picture in grey under its heat, from a violet that hardly covers it to a yellow that nearly does.

    Args:
        pixels: Shape (3, H, W), uint8, RGB.
        heat: Shape (H, W), from 0 to 1.
    """
    from matplotlib import colormaps

    # Equal steps of heat look equal in it, to colour-blind readers and in grey too.
    colours = 255 * colormaps["inferno"](0.2 + 0.75 * heat)[..., :3]
    grey = 0.9 * pixels.mean(axis=0)[..., None].repeat(3, axis=2)
    cover = (0.65 * np.sqrt(heat))[..., None]
    return Image.fromarray((grey * (1 - cover) + colours * cover).round().astype(np.uint8))


def heat_words(heat: np.ndarray, label: str) -> str:
    """Where a heat map of shape (H, W) is hottest, and how much of the picture holds half of its heat."""
    if not heat.any():
        return f"Nothing in this picture speaks for {label}"
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    place = " ".join(
        names[min(3 * int(at) // size, 2)] for names, at, size in zip(THIRDS, (row, column), heat.shape, strict=True)
    )
    falling = np.sort(heat, axis=None)[::-1].cumsum()
    half = max(round(100 * (np.searchsorted(falling, falling[-1] / 2) + 1) / heat.size), 1)
    place = "centre" if place == "middle centre" else place
    return f"What speaks for {label}: most at the {place}; half of the heat lies on {half} % of the picture"
