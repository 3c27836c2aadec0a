"""features.sources.decode: what each picture's pixels are, and that importing it leaves the process as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import child
from pictures import spoil
from PIL import Image

from features.sources.decode import UNREADABLE, decode, try_decoding

# What a picture looks like to the network ---------------------------------------------------------------------------


def gradient(width: int = 40, height: int = 30) -> np.ndarray:
    """Grey values of shape (height, width), uint8, no two rows or columns alike."""
    return (np.arange(height)[:, None] * 3 + np.arange(width)[None, :] * 4).astype(np.uint8)


def pixels(path: Path) -> np.ndarray:
    image = decode(path.read_bytes())
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_rgb_comes_through_unchanged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "rgb.png")
    assert np.array_equal(pixels(tmp_path / "rgb.png"), values)


def test_greyscale(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "grey.png")
    assert np.array_equal(pixels(tmp_path / "grey.png"), np.repeat(gradient()[..., None], 3, axis=2))


def test_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(gradient() > 100).save(tmp_path / "bits.png")
    assert np.array_equal(pixels(tmp_path / "bits.png")[..., 0], np.where(gradient() > 100, 255, 0))


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(gradient() % 3)
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    image.save(tmp_path / "palette.png")
    colours = np.array([[255, 0, 0], [0, 200, 0], [0, 0, 100]])
    assert np.array_equal(pixels(tmp_path / "palette.png"), colours[gradient() % 3])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_a_palette_with_transparency_lies_on_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.frombytes("P", (40, 30), (gradient() % 3).tobytes())
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    image.save(tmp_path / "palette.png", transparency=transparency)
    colours = np.array([[255, 0, 0], [255, 255, 255], [0, 0, 100]])
    assert np.array_equal(pixels(tmp_path / "palette.png"), colours[gradient() % 3])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path: Path, mode: str) -> None:
    alpha = gradient()
    image = Image.new("L" if mode == "LA" else "RGB", (40, 30), "black")
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    image.save(tmp_path / "alpha.png")
    expected = 255 - alpha.astype(int)
    assert np.abs(pixels(tmp_path / "alpha.png") - expected[..., None]).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk(tmp_path: Path, ending: str) -> None:
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(tmp_path / f"cmyk.{ending}")
    assert np.abs(pixels(tmp_path / f"cmyk.{ending}") - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_greyscale_is_scaled_not_cut_off(tmp_path: Path, ending: str) -> None:
    values = gradient().astype(np.uint16) * 257
    if ending == "pgm":
        (tmp_path / "deep.pgm").write_bytes(b"P5 40 30 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    assert np.array_equal(pixels(tmp_path / f"deep.{ending}"), np.repeat(gradient()[..., None], 3, axis=2))


def test_floating_point_with_nan(tmp_path: Path) -> None:
    values = gradient().astype(np.float32) / 255
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "float.tif")
    assert np.array_equal(pixels(tmp_path / "float.tif")[..., 0], gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient()).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "turned.png")[..., 0], turned(gradient()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so, and goes on
def test_a_damaged_exif_block_does_not_stop_a_picture(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert pixels(tmp_path / "odd.jpg").shape == (30, 40, 3)


# Files that can't be read -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_refused_can_not_be_opened_either(picture_folder: Path) -> None:
    for name in spoil(picture_folder / "train/red"):
        for function in (decode, try_decoding):
            with pytest.raises(UNREADABLE):
                function((picture_folder / "train/red" / name).read_bytes())


IMPORTS = """
import warnings
import numpy, PIL.Image, torch, torchvision, h5py, tyro, filelock
filters = list(warnings.filters)
import features.extract, features.__main__, features.backbone.network, features.engines.local, features.cache.info
print(warnings.filters == filters)
"""


def test_importing_stage_1_leaves_the_warning_filters_alone() -> None:
    assert child(IMPORTS).stdout == "True\n"
