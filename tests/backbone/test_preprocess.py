"""features.backbone.preprocess: faster than torchvision's preset, and bit for bit the same."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp
from torchvision import models
from torchvision.transforms import InterpolationMode, RandomResizedCrop, functional
from torchvision.transforms._presets import ImageClassification

from features.backbone.network import backbone_names
from features.backbone.preprocess import Preprocess, random_box
from features.sources.decode import decode

PRESETS = {
    repr(weights.transforms()): weights.transforms()
    for name in backbone_names()
    for weights in models.get_model_weights(name)
}
RESNET = models.ResNet18_Weights.IMAGENET1K_V1.transforms()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("step", [25, pytest.param(1, marks=pytest.mark.slow)])
def test_real_images_are_prepared_as_by_the_preset(shared_data: Path, step: int) -> None:
    preprocess = Preprocess(RESNET)
    files = sorted(file for file in shared_data.rglob("*") if file.suffix != ".gif" and file.is_file())
    assert len(files) == 397
    for file in files[::step]:
        image = decode(file.read_bytes())
        assert torch.equal(preprocess(image), RESNET(image)), file


@pytest.mark.parametrize("preset", PRESETS.values(), ids=[str(index) for index in range(len(PRESETS))])
def test_every_preset_of_torchvision_is_matched(preset: ImageClassification) -> None:
    preprocess = Preprocess(preset)
    for size in [(500, 375), (333, 500), (64, preset.crop_size[0])]:
        image = noise(*size)
        made = preprocess(image)
        assert made.shape == (3, *preprocess.size)
        assert torch.equal(made, preset(image))


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    resize=st.integers(16, 80),
    margin=st.integers(0, 15),
    interpolation=st.sampled_from([InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]),
)
def test_pictures_of_any_size_and_shape(
    width: int, height: int, resize: int, margin: int, interpolation: InterpolationMode
) -> None:
    preset = ImageClassification(crop_size=resize - margin, resize_size=resize, interpolation=interpolation)
    image = noise(width, height)
    assert torch.equal(Preprocess(preset)(image), preset(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 3), (224, 224), (256, 256), (255, 257), (3000, 20)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    image = noise(*size)
    assert torch.equal(Preprocess(RESNET)(image), RESNET(image))


def test_pixels_are_what_a_thread_hands_over_and_a_batch_is_normalised_as_one_picture_is() -> None:
    preprocess = Preprocess(RESNET)
    images = [noise(300, 260, seed) for seed in range(3)]
    pixels = [preprocess.pixels(image) for image in images]
    for one in pixels:
        assert (one.shape, one.dtype, one.flags.c_contiguous) == ((3, 224, 224), np.uint8, True)
    batch = preprocess.normalise(torch.from_numpy(np.stack(pixels)))
    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.stack([RESNET(image) for image in images]))


def test_every_value_of_a_pixel_is_normalised_as_by_the_preset() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)
    expected = functional.normalize(functional.convert_image_dtype(values), RESNET.mean, RESNET.std)
    assert torch.equal(Preprocess(RESNET).normalise(values), expected)


def test_it_travels_to_other_processes() -> None:
    image = noise(300, 260)
    assert torch.equal(pickle.loads(pickle.dumps(Preprocess(RESNET)))(image), RESNET(image))


# Views ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC])
def test_a_view_is_torchvisions_resized_crop_of_its_box_half_of_the_time_mirrored(
    interpolation: InterpolationMode,
) -> None:
    preprocess = Preprocess(ImageClassification(crop_size=56, resize_size=64, interpolation=interpolation))
    image = noise(90, 120)
    mirrored = 0
    for seed in range(100):
        left, top, right, bottom = random_box(90, 120, np.random.default_rng(seed))
        crop = functional.resized_crop(image, top, left, bottom - top, right - left, [56, 56], interpolation)
        expected = functional.pil_to_tensor(crop).numpy()
        view = preprocess.view(image, np.random.default_rng(seed))
        assert (view.shape, view.dtype) == ((3, 56, 56), np.uint8)
        flipped = np.array_equal(view, expected[:, :, ::-1])
        assert flipped or np.array_equal(view, expected)
        mirrored += flipped
    assert 35 <= mirrored <= 65  # 100 coins: 3 standard deviations


def test_a_view_depends_on_its_generator_alone() -> None:
    preprocess, image = Preprocess(RESNET), noise(300, 260)
    first = preprocess.view(image, np.random.default_rng(7))
    torch.manual_seed(1)
    np.random.seed(1)
    assert np.array_equal(preprocess.view(image, np.random.default_rng(7)), first)
    assert not np.array_equal(preprocess.view(image, np.random.default_rng(8)), first)


@pytest.mark.parametrize("size", [(500, 375), (40, 300)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    width, height = size
    image = SimpleNamespace(size=size)
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blank = Image.new("RGB", image.size)
        for _ in range(2000):
            left, top, right, bottom = random_box(width, height, rng)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            ours.append((left, top, right - left, bottom - top))
            i, j, h, w = RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3])
            theirs.append((j, i, w, h))
    for mine, reference in zip(np.transpose(ours), np.transpose(theirs), strict=True):
        assert ks_2samp(mine, reference).pvalue > 0.01


def test_the_fallback_for_a_picture_too_narrow_for_any_part() -> None:
    blank = Image.new("RGB", (2, 1000))
    # No part of at least 8 % of this area has an allowed ratio; torchvision too takes the middle one.
    i, j, h, w = RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3])
    assert random_box(2, 1000, np.random.default_rng(0)) == (j, i, j + w, i + h)
    assert random_box(1000, 2, np.random.default_rng(0)) == (i, j, i + h, j + w)
    assert math.isclose(w / h, 3 / 4, rel_tol=0.2)
