"""features.images: what each picture's pixels are, which can't be read, their fingerprint."""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.sources import images
from features.sources.images import (
    UNREADABLE,
    check_images,
    decode,
    file_digests,
    images_sha256,
    open_images,
    refuse_unreadable,
    shared_images,
)
from features.util.errors import InputError

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


# Files that can't be read -------------------------------------------------------------------------------------------


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def spoil(folder: Path) -> dict[str, str]:
    """Put one file of each unreadable kind into a class; the reason expected for each, as a pattern."""
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    for ending in ("jpg", "png", "webp", "tif"):
        whole.save(folder / f"cut.{ending}")
        data = (folder / f"cut.{ending}").read_bytes()
        (folder / f"cut.{ending}").write_bytes(data[: len(data) // 2])
        (folder / f"docked.{ending}").write_bytes(data[:-40])
    (folder / "text.png").write_text("this is no image")
    (folder / "empty.jpg").touch()
    (folder / "bomb.png").write_bytes(png_header_only(100_000, 100_000))
    (folder / "small_bomb.png").write_bytes(png_header_only(12_000, 10_000))
    (folder / "link.jpg").symlink_to(folder / "gone.jpg")
    return {
        "docked.jpg": r"image file is truncated.*",
        "docked.png": r"image file is truncated.*",
        "docked.webp": r".+",
        "docked.tif": r".+",
        "cut.jpg": r"image file is truncated.*",
        "cut.png": r"image file is truncated.*",
        "cut.webp": r".+",
        "cut.tif": r".+",
        "text.png": "not an image that Pillow can read",
        "empty.jpg": r"the file is empty \(0 bytes\)",
        "bomb.png": r".*decompression bomb.*",
        "small_bomb.png": r"12000×10000 pixels, more than 89,478,485: could be a decompression bomb",
        "link.jpg": r".*No such file or directory.*",
    }


# features.images turns this warning off as it is imported; pytest turns every warning on again.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_all_unreadable_files_are_listed_at_once_with_reasons(picture_folder: Path) -> None:
    expected = spoil(picture_folder / "train/red")
    image_set = open_images(str(picture_folder))
    with pytest.raises(InputError) as caught:
        refuse_unreadable(image_set, check_images(image_set))
    first, *listed, last = str(caught.value).splitlines()
    assert first == f"13 of 26 images in {picture_folder} can't be read:"
    assert (
        last == "Mend or remove them, then run the same command again; `make features` leaves them out with --skip-bad."
    )
    found = dict(line.strip().removeprefix("train/red/").split(": ", 1) for line in listed)
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert re.fullmatch(reason, found[name]), (name, found[name])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_refused_can_not_be_opened_either(picture_folder: Path) -> None:
    for name in spoil(picture_folder / "train/red"):
        with pytest.raises(UNREADABLE):
            decode((picture_folder / "train/red" / name).read_bytes())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so, and goes on
def test_a_damaged_exif_block_does_not_stop_a_picture(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert pixels(tmp_path / "odd.jpg").shape == (30, 40, 3)


def test_a_long_list_is_cut_with_the_count(picture_folder: Path) -> None:
    for index in range(25):
        (picture_folder / f"train/red/empty{index}.png").touch()
    image_set = open_images(str(picture_folder))
    with pytest.raises(InputError) as caught:
        refuse_unreadable(image_set, check_images(image_set))
    assert str(caught.value).splitlines()[-2] == "  … and 5 more"
    assert len(str(caught.value).splitlines()) == 23


def test_good_images_pass_with_their_digests_in_order(picture_folder: Path) -> None:
    image_set = open_images(str(picture_folder))
    checked = check_images(image_set)
    assert checked.problems == {}
    assert list(checked.digests) == image_set.all_paths
    assert checked.digests == file_digests(image_set)
    content = (picture_folder / "train/blue/0.png").read_bytes()
    assert checked.digests["train/blue/0.png"] == hashlib.sha256(content).hexdigest()


def test_only_a_few_images_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else memory would grow with the number of images, and a Ctrl-C would wait for all of them."""
    begun: list[str] = []
    results = images.in_threads(lambda path: begun.append(path) or path, [str(index) for index in range(1000)])
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()
    assert len(begun) <= 70


# Fingerprints -------------------------------------------------------------------------------------------------------


def fingerprint(folder: Path) -> str:
    return images_sha256(file_digests(open_images(str(folder))))


def test_the_fingerprint_is_that_of_names_and_contents(picture_folder: Path, tmp_path: Path) -> None:
    before = fingerprint(picture_folder)
    shutil.copytree(picture_folder, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == before

    image = picture_folder / "val/red/0.png"
    image.rename(image.with_name("renamed.png"))
    assert fingerprint(picture_folder) != before
    image.with_name("renamed.png").rename(image)
    assert fingerprint(picture_folder) == before

    with image.open("ab") as file:
        file.write(b"\0")
    assert fingerprint(picture_folder) != before


def test_files_that_can_not_be_hashed_are_listed(picture_folder: Path) -> None:
    for name in ("train/blue/link.png", "val/blue/link.png"):
        (picture_folder / name).symlink_to("gone.png")
    with pytest.raises(InputError, match=r"2 of 15 images .* can't be read") as caught:
        file_digests(open_images(str(picture_folder)))
    assert "train/blue/link.png: " in str(caught.value)
    assert "val/blue/link.png: " in str(caught.value)


def test_validation_images_that_are_training_images_are_found(picture_folder: Path) -> None:
    shutil.copy(picture_folder / "train/red/2.png", picture_folder / "val/red/other_name.png")
    image_set = open_images(str(picture_folder))
    assert shared_images(image_set, file_digests(image_set)) == ["val/red/other_name.png"]


def test_the_real_folder(shared_data: Path) -> None:
    found = open_images(str(shared_data))
    assert found.classes == ("ants", "bees")
    assert {split: len(paths) for split, paths in found.paths.items()} == {"train": 244, "val": 153}
    assert len(found.ignored) == 1
    assert found.ignored[0].endswith(".gif")
