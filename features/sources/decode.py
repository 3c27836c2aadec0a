"""Bytes of a picture → upright 8-bit RGB, whatever its format and mode; or the reason why it can't be read."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

# Pillow only warns of a picture of one to two times its limit. Where warnings are errors, that warning is caught here;
# elsewhere the refusal below says more.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode(content: bytes) -> Image.Image:
    """Decode a picture to upright 8-bit RGB: EXIF rotation applied, transparency laid on white, 16-bit greyscale scaled
    down.

    Raises:
        UNREADABLE: one of these, as Pillow finds the contents unreadable.
    """
    return _decode(content, reduced=False)


def try_decoding(content: bytes) -> None:
    """Raise what :func:`decode` would raise, in less time: a JPEG is decoded at an eighth of its size, for which every
    byte of it is still read, so that a truncated one fails here too."""
    _decode(content, reduced=True)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture of any mode into upright 8-bit RGB, as :func:`decode` does."""
    # Pillow would copy a picture that is upright already, and one that is RGB already.
    upright = image if image.getexif().get(ExifTags.Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return Image.fromarray(_as_8_bit(upright)).convert("RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if upright.mode == "RGB":
        upright.load()
        return upright
    return upright.convert("RGB")


def _decode(content: bytes, reduced: bool) -> Image.Image:
    if not content:
        raise ValueError("the file is empty (0 bytes)")
    try:
        opened = Image.open(BytesIO(content))
    except Image.UnidentifiedImageError:
        # Pillow's own message names an object in memory.
        raise Image.UnidentifiedImageError("not an image that Pillow can read") from None
    with opened as image:
        _refuse_bomb(image)
        if reduced:
            image.draft(None, (1, 1))
        return upright_rgb(image)


def _refuse_bomb(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width}×{image.height} pixels, more than {limit:,}: could be a decompression bomb"
        )


def _as_8_bit(image: Image.Image) -> np.ndarray:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=1.0)), 1.0)
    return np.clip(values / top * 255.0, 0.0, 255.0).round().astype(np.uint8)
