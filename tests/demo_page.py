"""What tests of the demo's page do with it: give it pictures, and read what it shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS
from PIL import Image

from pipeline.demo.limits import Limits
from pipeline.demo.reading import Reader

ENDED = (0, "\nended; no upload is kept\n", "")


def sideways(folder: Path) -> Path:
    """A red picture in this folder, taken with the camera on its side."""
    pixels = np.random.default_rng(3).normal(COLOURS["red"], 30, (300, 400, 3)).clip(0, 255)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "picture.jpg", exif=exif)
    return folder / "picture.jpg"


def drop(page, *files):
    """Give the page files; the answer, when it is of the first."""
    page.set_input_files("#files", [str(file) for file in files])
    page.locator(f'#answer[data-of="{files[0].name}"]:not([aria-busy])').wait_for(timeout=20_000)
    return page.locator("#answer")


def shown_numbers(page, table, cell=".number"):
    rows = page.locator(f"#answer {table} tbody tr")
    return {
        row.locator("th").inner_text(): float(
            row.locator(cell).first.inner_text().replace("−", "-").removesuffix("\u00a0%")
        )
        for row in rows.all()
    }


def assert_as_predicted(page, classifier, file):
    """The page's class, probabilities and expectation values of a picture are the network's own."""
    [prediction] = classifier.predict(file)
    assert prediction.label in page.locator("#answer h2").inner_text()
    shares = {name: 100 * share for name, share in prediction.probabilities.items()}
    assert shown_numbers(page, ".classes") == pytest.approx(shares, abs=0.051)
    values = Reader(classifier, Limits())(file.read_bytes()).outputs
    assert shown_numbers(page, ".wires", ".value") == pytest.approx(
        {str(wire): z for wire, z in enumerate(values)}, abs=1e-4
    )


def shown_pixels(page, picture):
    source = page.locator(f"#answer {picture}").get_attribute("src").removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
