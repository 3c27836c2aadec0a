"""features.engines.pixels: threads and processes give the same pixels, in order, and notice a picture that changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.engines import pixels
from features.engines.pixels import Stopwatch, pixel_batches
from features.sources.check import check_images
from features.sources.images import ImageSet, open_images
from features.util.errors import InputError


def small(image: Image.Image, _path: str) -> np.ndarray:
    return np.asarray(image.resize((8, 8)))


def batches(image_set: ImageSet, watch: Stopwatch, processes: bool, digests: dict[str, str] | None = None):
    paths = image_set.all_paths
    parts = [paths[start : start + 3] for start in range(0, len(paths), 3)]
    found = digests or check_images(image_set).digests
    yield from pixel_batches(image_set, parts, found, small, workers=2, watch=watch, processes=processes)


@pytest.mark.parametrize("part", [2, 32])
@pytest.mark.parametrize("processes", [False, True])
def test_pixels_come_in_order_and_their_seconds_count(picture_folder: Path, processes: bool, part: int, monkeypatch):
    monkeypatch.setattr(pixels, "PART", part)
    image_set, watch = open_images(str(picture_folder)), Stopwatch()
    stacks = list(batches(image_set, watch, processes))
    assert {len(stack) for stack in stacks[:-1]} == {3}
    found = np.concatenate(stacks)
    with_care = [small(Image.open(picture_folder / path).convert("RGB"), path) for path in image_set.all_paths]
    assert np.array_equal(found, np.stack(with_care))
    assert set(watch.seconds) == {"read", "decode"}
    assert watch.seconds["decode"] > 0


@pytest.mark.parametrize("processes", [False, True])
def test_a_picture_that_changed_stops_the_pass(picture_folder: Path, processes: bool):
    image_set = open_images(str(picture_folder))
    digests = dict(check_images(image_set).digests)
    changed = image_set.all_paths[4]
    digests[changed] = "0" * 64
    taken = batches(image_set, Stopwatch(), processes, digests)
    assert len(next(taken)) == 3
    with pytest.raises(InputError, match=f"{changed}: its contents are others than before"):
        list(taken)
