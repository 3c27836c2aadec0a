"""The page, and the answers that its script asks for.

In: a :class:`Demo`, and what the page sends: a picture, the number of an offered one, or inputs set by hand. Out: HTML,
and answers as JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

import pipeline.pages
from features.sources.decode import UNREADABLE, decode
from pipeline.demo.by_hand import ByHand, by_hand
from pipeline.demo.examples import Example
from pipeline.demo.limits import MARGIN, Limits
from pipeline.demo.reading import Reader
from pipeline.explain.overlay import heat_words, overlay
from pipeline.explain.unlike import FALSE_ALARMS
from pipeline.inference.hybrid import HybridClassifier
from pipeline.report.words import percent

HERE = Path(__file__).parent
STYLE = "\n".join(
    (folder / "page.css").read_text(encoding="utf-8") for folder in (Path(*pipeline.pages.__path__), HERE)
)
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")
MAX_UPLOAD = 50 * 2**20
"""The largest picture in bytes."""
SHOWN = 10
"""Classes in a table, the most probable first."""
THUMBNAIL = 160
"""Side of the offered pictures in pixels."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters["percent"] = percent
_TEMPLATES.filters["json"] = json.dumps
_TEMPLATES.filters["signed"] = lambda value, digits=4: f"{value:+.{digits}f}".replace("-", "−")


@dataclass
class Demo:
    """Everything that the page shows.

    Attributes:
        classifier: The whole network.
        examples: Pictures to offer beside the place for one's own.
        limits: When the page warns.
    """

    classifier: HybridClassifier
    examples: Sequence[Example] = ()
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def reader(self) -> Reader:
        """Reads pictures."""
        return Reader(self.classifier, self.limits)

    @cached_property
    def by_hand(self) -> ByHand | str:
        """The circuit with inputs set by hand, or why there is none."""
        return by_hand(self.classifier.head)

    @cached_property
    def page(self) -> str:
        """The page itself."""
        classes = self.classifier.classes
        return _render(
            "page.html",
            question=f"{' or '.join(classes)}?" if len(classes) <= 4 else f"Which of {len(classes)} classes?",
            classifier=self.classifier,
            thumbnails=[(example, _thumbnail(self.classifier, example)) for example in self.examples],
            limits=self.limits,
            margin=MARGIN,
            false_alarms=FALSE_ALARMS,
            blind=self.reader.blind,
            hands=self.by_hand,
            shown=SHOWN,
            max_upload=MAX_UPLOAD,
        )

    def answer(self, name: str, content: bytes, truth: str | None = None) -> dict[str, Any]:
        """What the network says of an encoded picture, or why it can't be read.

        Args:
            name: The picture's file name.
            content: The encoded picture.
            truth: Its class, where that is known.
        """
        try:
            reading = self.reader(content)
        except UNREADABLE as error:
            problem = str(error) or type(error).__name__
            return {"name": name, "problem": problem, "html": _render("problem.html", name=name, problem=problem)}
        best = sorted(reading.probabilities.items(), key=lambda pair: -pair[1])
        label = best[0][0]
        crop = _data_url(Image.fromarray(reading.pixels.transpose(1, 2, 0)))
        html = _render(
            "answer.html",
            name=name,
            truth=truth,
            label=label,
            crop=crop,
            heat=None if reading.heat is None else _data_url(overlay(reading.pixels, reading.heat)),
            heat_words="" if reading.heat is None else heat_words(reading.heat, label),
            blind=self.reader.blind,
            size=self.classifier.transforms.size,
            best=best[:SHOWN],
            less_probable=len(best[SHOWN:]),
            reading=reading,
            margin=MARGIN,
            false_alarms=FALSE_ALARMS,
            limits=self.limits,
            head=self.classifier.head.description,
        )
        return {
            "name": name,
            "label": label,
            "probabilities": list(reading.probabilities.values()),
            "sure": reading.sure,
            "unlike": None if reading.distance is None else reading.unlike,
            "inputs": reading.inputs,
            "crop": crop,
            "html": html,
        }

    def answer_example(self, chosen: int) -> dict[str, Any]:
        """What the network says of an offered picture."""
        example = self.examples[chosen]
        return self.answer(example.name, example.content, example.label)

    def answer_by_hand(self, inputs: Sequence[float]) -> dict[str, Any]:
        """What the circuit gives for these inputs.

        Raises:
            ValueError: if it does not take them.
        """
        if isinstance(self.by_hand, str):
            raise ValueError(self.by_hand)
        if len(inputs) != len(self.by_hand.inputs):
            raise ValueError(f"the circuit takes {len(self.by_hand.inputs)} inputs, not {len(inputs)}")
        if not np.isfinite(inputs).all():
            raise ValueError("inputs are finite numbers")
        outputs, probabilities = self.by_hand(inputs)
        if not np.isfinite([*outputs, *probabilities]).all():
            raise ValueError("the circuit gives no numbers for these inputs")
        return {"outputs": outputs, "probabilities": probabilities}


def _thumbnail(classifier: HybridClassifier, example: Example) -> str:
    pixels = classifier.transforms.pixels(decode(example.content))
    return _data_url(Image.fromarray(pixels.transpose(1, 2, 0)).resize((THUMBNAIL, THUMBNAIL)))


def _data_url(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _render(template: str, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(values)
