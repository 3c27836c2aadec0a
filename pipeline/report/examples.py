"""The pictures a report shows: those it got wrong, those it is least sure of, and some at random; each picture once.

In: :class:`pipeline.report.findings.Findings`. Out: small pictures with what was predicted of each, and on request
where the network looked.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from features.sources.decode import decode
from pipeline.explain.gradcam import GradCAM
from pipeline.explain.overlay import heat_words, overlay
from pipeline.heads.base import TANH
from pipeline.inference.hybrid import HybridClassifier
from pipeline.inference.sources import run_backbone
from pipeline.report.findings import Findings
from pipeline.report.words import percent

SHOWN, PAGE = 12, 24
"""Pictures in a gallery, and wrong ones on each further page."""
MOST_WRONG = SHOWN + 10 * PAGE
"""Wrong pictures that are shown at most; ``predictions.csv`` has all."""
THUMBNAIL, LARGE = 208, 448
LIKELY = 5
"""Classes whose probabilities are shown with a picture."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One validation image and what the head says of it.

    Attributes:
        row: Its number among the validation images.
        path: Its name in the data set.
        guess: The predicted class, and ``probability`` of it.
        truth: The true class, and ``true_probability`` of it.
        likely: The most probable classes with their probabilities.
        values: What the circuit, or the hidden layer, gave; empty where there is none, or its row is not in memory.
        picture: It as a data URI, the longer side ``LARGE`` pixels at most; None where the images are not at hand.
        heat: Where the network looked, likewise, and in words; None where that was not asked for.
    """

    row: int
    path: str
    guess: str
    probability: float
    truth: str
    true_probability: float
    likely: list[tuple[str, float]]
    values: list[float]
    picture: str | None = field(repr=False)
    heat: tuple[str, str] | None = field(repr=False)

    @property
    def right(self) -> bool:
        """Whether the prediction is the true class."""
        return self.guess == self.truth

    @property
    def words(self) -> str:
        """The picture for those who can't see it."""
        verdict = "right" if self.right else "wrong"
        return (
            f"{self.path}: true class {self.truth}, predicted {self.guess} with probability "
            f"{percent(self.probability)}, {verdict}"
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is shown.

    Attributes:
        wrong: Pages of wrongly classified images, the surest first.
        n_wrong: All of them, shown or not.
        least_sure: Others, with the smallest margin between the two most probable classes.
        at_random: Others, drawn by the run's seed.
        values: What ``Example.values`` are, in a word.
    """

    wrong: list[list[Example]]
    n_wrong: int
    least_sure: list[Example]
    at_random: list[Example]
    values: str


def examples(report: Findings) -> Examples:
    """All choices as they are shown."""
    name, found = list(report.hidden.items())[-1] if report.hidden else ("", np.empty((0, 0)))
    values = dict(zip(np.arange(len(report.labels))[report.sampled].tolist(), found, strict=False))
    wrong = most_wrong(report)
    shown = set(wrong[:MOST_WRONG].tolist())
    unsure = [row for row in least_sure(report).tolist() if row not in shown][:SHOWN]
    drawn = at_random(report, but=[*shown, *unsure])
    heat = _heat(report, [*wrong[:MOST_WRONG].tolist(), *unsure, *drawn.tolist()]) if report.config.explain else {}

    def example(row: int) -> Example:
        probabilities = report.probabilities[row]
        guess, truth = int(probabilities.argmax()), int(report.labels[row])
        return Example(
            row=row,
            path=report.paths[row],
            guess=report.run.classes[guess],
            probability=float(probabilities[guess]),
            truth=report.run.classes[truth],
            true_probability=float(probabilities[truth]),
            likely=[
                (report.run.classes[k], float(probabilities[k]))
                for k in np.argsort(-probabilities, kind="stable")[:LIKELY].tolist()
            ],
            values=values[row].tolist() if row in values else [],
            picture=_picture(report, row),
            heat=heat.get(row),
        )

    pages = [wrong[:SHOWN], *(wrong[k : k + PAGE] for k in range(SHOWN, min(len(wrong), MOST_WRONG), PAGE))]
    return Examples(
        wrong=[[example(int(row)) for row in page] for page in pages if len(page)],
        n_wrong=len(wrong),
        least_sure=[example(row) for row in unsure],
        at_random=[example(row) for row in drawn.tolist()],
        values={"": "", TANH: "outputs of tanh"}.get(name, name),
    )


def at_random(report: Findings, but: Sequence[int] = ()) -> np.ndarray:
    """Rows of a dozen validation images, drawn by the run's seed; none of ``but``."""
    rows = np.delete(np.arange(len(report.paths)), but)
    return np.random.default_rng(report.run.config.seed).choice(rows, size=min(SHOWN, len(rows)), replace=False)


def most_wrong(report: Findings) -> np.ndarray:
    """Rows of the wrongly classified images, the highest probability of the wrong class first."""
    guesses, confidences = report.probabilities.argmax(axis=1), report.probabilities.max(axis=1)
    order = np.argsort(-confidences, kind="stable")
    return order[guesses[order] != report.labels[order]]


def least_sure(report: Findings) -> np.ndarray:
    """Rows of the images with the smallest margin between the two most probable classes, the smallest first."""
    second, first = np.sort(report.probabilities, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")[: SHOWN + MOST_WRONG]


def thumbnail(content: bytes) -> Image.Image:
    """The middle square of an encoded picture: what most backbones look at."""
    return ImageOps.fit(decode(content), (THUMBNAIL, THUMBNAIL))


def _picture(report: Findings, row: int) -> str | None:
    if report.images is None:
        return None
    picture = decode(report.images.read(report.paths[row]))
    picture.thumbnail((LARGE, LARGE))
    return _data_uri(picture)


def _heat(report: Findings, rows: list[int]) -> dict[int, tuple[str, str]]:
    """Where the network looked on the images of these rows, for the class it predicted."""
    from tqdm import tqdm

    assert report.images is not None
    config, found = report.config, {}
    backbone = run_backbone(report.run, config.weights)
    network = HybridClassifier(report.run, backbone, accept_other_weights=config.accept_other_weights)
    look = GradCAM(network.network, network.head)
    for row in tqdm(rows, unit="image", desc="explain", disable=None):
        pixels = network.transforms.pixels(decode(report.images.read(report.paths[row])))
        guess = int(report.probabilities[row].argmax())
        heat = look(pixels, guess)
        found[row] = _data_uri(overlay(pixels, heat)), heat_words(heat, report.run.classes[guess])
    return found


def _data_uri(picture: Image.Image) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
