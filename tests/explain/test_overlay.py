"""pipeline.explain.overlay."""

from __future__ import annotations

import numpy as np

from pipeline.explain.overlay import heat_words, overlay

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 30, 60), np.uint8)


def test_cold_pixels_are_grey_and_hot_ones_yellow():
    heat = np.zeros((30, 60))
    heat[20:, :10] = 1
    shown = np.asarray(overlay(PIXELS, heat)).astype(int)
    assert shown.shape == (30, 60, 3)
    cold, hot = shown[:20], shown[20:, :10]
    assert np.abs(cold - 0.9 * PIXELS[:, :20].mean(axis=0)[..., None]).max() <= 0.5
    assert (hot[..., 0] > hot[..., 2] + 40).all()
    # The picture is still to be seen under the heat.
    assert hot[..., 0].std() > 5


def test_it_is_told_where_the_heat_lies():
    heat = np.zeros((30, 60))
    heat[25, 3] = 1.0
    words = "What speaks for <b>: most at the bottom left; half of the heat lies on 1 % of the picture"
    assert heat_words(heat, "<b>") == words
    even = np.ones((30, 60)) - 1e-9 * np.hypot(*np.meshgrid(np.arange(60) - 30, np.arange(30) - 15))
    assert heat_words(even, "a").endswith("most at the centre; half of the heat lies on 50 % of the picture")
    assert heat_words(np.zeros((30, 60)), "a") == "Nothing in this picture speaks for a"
