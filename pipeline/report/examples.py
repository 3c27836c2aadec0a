"""The pictures a report shows: some at random, those it got most wrong, and those it is least sure of.

In: a :class:`pipeline.inference.evaluation.Report`. Out: small pictures with what was predicted of each.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from features.sources.decode import decode
from pipeline.inference.evaluation import Report

SHOWN = 12
THUMBNAIL = 208


@dataclass(frozen=True, kw_only=True)
class Example:
    """One validation image and what the head says of it.

    Attributes:
        path: Its name in the data set.
        guess: The predicted class, and ``probability`` of it.
        truth: The true class, and ``true_probability`` of it.
        thumbnail: The middle square of the picture as a data URI; None where the images are not at hand.
    """

    path: str
    guess: str
    probability: float
    truth: str
    true_probability: float
    thumbnail: str | None = field(repr=False)

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.guess == self.truth

    @property
    def words(self) -> str:
        """The picture for those who can't see it."""
        verdict = "right" if self.right else "wrong"
        return (
            f"{self.path}: true class {self.truth}, predicted {self.guess} with probability {self.probability:.2f}, "
            f"{verdict}"
        )


def at_random(report: Report) -> np.ndarray:
    """Rows of a dozen validation images, drawn by the run's seed."""
    n = len(report.paths)
    return np.random.default_rng(report.run.config.seed).choice(n, size=min(SHOWN, n), replace=False)


def most_wrong(report: Report) -> np.ndarray:
    """Rows of the wrongly classified images, the highest probability of the wrong class first."""
    guesses, confidences = report.probabilities.argmax(axis=1), report.probabilities.max(axis=1)
    order = np.argsort(-confidences, kind="stable")
    return order[guesses[order] != report.labels[order]][:SHOWN]


def least_sure(report: Report) -> np.ndarray:
    """Rows of the images with the smallest margin between the two most probable classes, the smallest first."""
    second, first = np.sort(report.probabilities, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")[:SHOWN]


def examples(report: Report) -> dict[str, list[Example]]:
    """All three choices as they are shown."""
    # Read each image once, though it may be both among the most wrong and the least sure.
    read = cache(lambda path: _thumbnail(report, path))

    def example(row: int) -> Example:
        path, probabilities = report.paths[row], report.probabilities[row]
        guess, truth = int(probabilities.argmax()), int(report.labels[row])
        return Example(
            path=path,
            guess=report.run.classes[guess],
            probability=float(probabilities[guess]),
            truth=report.run.classes[truth],
            true_probability=float(probabilities[truth]),
            thumbnail=read(path),
        )

    chosen = {"at_random": at_random, "most_wrong": most_wrong, "least_sure": least_sure}
    return {name: [example(int(row)) for row in choose(report)] for name, choose in chosen.items()}


def thumbnail(content: bytes) -> Image.Image:
    """The middle square of an encoded picture: what most backbones look at."""
    return ImageOps.fit(decode(content), (THUMBNAIL, THUMBNAIL))


def _thumbnail(report: Report, path: str) -> str | None:
    if report.images is None:
        return None
    encoded = io.BytesIO()
    thumbnail(report.images.read(path)).save(encoded, "JPEG", quality=78, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
