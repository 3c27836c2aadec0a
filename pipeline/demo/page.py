"""The page: a place to drop a picture on, pictures to try, and what the network says.

In: a classifier, and pictures to offer. Out: a Gradio page, which asks no other machine for anything.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from features.sources.decode import UNREADABLE, decode
from pipeline.demo.examples import Example
from pipeline.demo.reading import read_picture
from pipeline.demo.uploads import Uploads
from pipeline.inference.hybrid import HybridClassifier

HERE = Path(__file__).parent
STYLE = (HERE / "page.css").read_text(encoding="utf-8")
# Classes in the table, the most probable first.
SHOWN = 10
# Side of the offered pictures in pixels: on the page, and on a screen of twice the density.
THUMBNAIL = 160
# The number of the picture that was clicked goes along with the event.
CHOOSE = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("click", {chosen: Number(button.value)});
});"""

_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class Page:
    """The page, and the numbers of its two events.

    Attributes:
        blocks: Gradio's page.
        upload: Number of the event that answers an upload.
        example: Number of the event that answers a click on an offered picture.
    """

    blocks: gr.Blocks
    upload: int
    example: int


def make_page(classifier: HybridClassifier, uploads: Uploads, examples: Sequence[Example] = ()) -> Page:
    """The page.

    Args:
        classifier: The whole network.
        uploads: Where uploaded pictures wait.
        examples: Pictures to offer beside the place for one's own.
    """

    def answer_upload(file: dict[str, Any]) -> tuple[None, str]:
        """Return the answer and clear the drop area for the next picture."""
        upload = uploads.take(file["path"])
        if upload is None:
            raise gr.Error("This picture is no longer here; drop it again.", print_exception=False)
        return None, answer(classifier, upload.name, upload.content)

    def answer_example(event: gr.EventData) -> str:
        example = examples[event.chosen]
        return answer(classifier, example.name, example.content, example.label)

    # One picture at a time, because each takes all cores; and no public API.
    usual: dict[str, Any] = {
        "concurrency_id": "network",
        "concurrency_limit": 1,
        "api_visibility": "private",
        "show_progress": "minimal",
    }
    question = _question(classifier.classes)
    with gr.Blocks(title=f"{question} Quantum transfer learning", analytics_enabled=False) as page:
        gr.HTML(_render("heading.html", classifier=classifier, question=question), apply_default_css=False)
        with gr.Row():
            with gr.Column(min_width=300):
                upload = gr.File(label="Your picture", height=170, elem_id="upload")
                thumbnails = [(example, _thumbnail(classifier, example)) for example in examples]
                offered = gr.HTML(
                    _render("examples.html", thumbnails=thumbnails),
                    js_on_load=CHOOSE,
                    apply_default_css=False,
                    visible=bool(examples),
                )
            with gr.Column(min_width=300, scale=2):
                result = gr.HTML(_render("waiting.html"), apply_default_css=False)
        # Skip Gradio's preprocessing, because it would open the file.
        answered = upload.upload(
            answer_upload, upload, [upload, result], show_progress_on=result, preprocess=False, **usual
        )
        clicked = offered.click(answer_example, None, result, **usual)
    return Page(page, upload=answered["id"], example=clicked["id"])


def answer(classifier: HybridClassifier, name: str, content: bytes, truth: str | None = None) -> str:
    """The prediction for an encoded picture, or why it can't be read, as HTML.

    Args:
        classifier: The whole network.
        name: The picture's file name.
        content: The encoded picture.
        truth: Its class, where that is known.
    """
    try:
        reading = read_picture(classifier, content)
    except UNREADABLE as error:
        return _render("problem.html", name=name, problem=str(error) or type(error).__name__)
    best = sorted(reading.probabilities.items(), key=lambda pair: -pair[1])
    return _render(
        "answer.html",
        name=name,
        truth=truth,
        crop=_data_url(Image.fromarray(_channels_last(reading.pixels))),
        size=classifier.transforms.size,
        best=best[:SHOWN],
        less_probable=len(best[SHOWN:]),
        outputs=reading.outputs,
        of_wires=reading.of_wires,
        head=classifier.head.description,
    )


def _question(classes: list[str]) -> str:
    return f"{' or '.join(classes)}?" if len(classes) <= 4 else f"Which of {len(classes)} classes?"


def _thumbnail(classifier: HybridClassifier, example: Example) -> str:
    pixels = classifier.transforms.pixels(decode(example.content))
    return _data_url(Image.fromarray(_channels_last(pixels)).resize((THUMBNAIL, THUMBNAIL)))


def _channels_last(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(1, 2, 0)


def _data_url(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _render(template: str, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(values)
