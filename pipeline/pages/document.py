"""What an experiment has to say: headings, sentences, tables and drawings in order, once for Markdown and page.

In: a :class:`Document`. Out: ``STEM.md``, ``STEM.html`` (one self-contained page) and a PNG of each drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from features.util.files import write_bytes, write_text
from pipeline.util.drawing import Drawing, KeptDrawing
from pipeline.util.markdown import markdown

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Table:
    """Cells, the first row the heading.

    Attributes:
        caption: What it shows.
        rows: Of equal length.
        left: Columns that are text, from the first; the others are numbers.
    """

    caption: str
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True)
class Figure:
    """A drawing, kept or made inside ``drawing.style()``, and the name of its PNG file."""

    name: str
    drawing: Drawing | KeptDrawing
    caption: str


@dataclass(frozen=True)
class Warned:
    """A sentence that must not be overlooked."""

    text: str


@dataclass(frozen=True)
class Points:
    """Sentences that each stand alone."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Command:
    """A command line, to copy."""

    text: str


Part = str | Warned | Points | Table | Figure | Command
"""A part of a section; a text is a paragraph."""


@dataclass(frozen=True)
class Section:
    """Parts under a heading, which is ``short`` where the page lists its sections."""

    heading: str
    parts: Sequence[Part]
    short: str = ""


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        title: Its name.
        lead: What it says, in a sentence that can be quoted.
        sections: The rest.
        made: When and of what it was made.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    made: str = field(default_factory=lambda: f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")

    @property
    def figures(self) -> list[Figure]:
        """All drawings in order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Figure)]


def as_markdown(document: Document, with_figures: bool = True) -> str:
    """The document as Markdown; in a terminal, which can't show them, without its figures."""
    parts = [document.lead]
    for section in document.sections:
        shown = [part for part in section.parts if with_figures or not isinstance(part, Figure)]
        if shown:
            parts += [f"### {section.heading}", *map(_markdown, shown)]
    return "\n\n".join(part for part in parts if part)


def as_page(document: Document) -> str:
    """The document as a page that needs no script and asks no other machine for anything."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = {"Table": Table, "Figure": Figure, "Warned": Warned, "Points": Points, "Command": Command}
    pages.tests |= {name.lower(): lambda part, kind=kind: isinstance(part, kind) for name, kind in kinds.items()}
    return pages.get_template("document.html").render(document=document)


def write_document(document: Document, folder: Path, stem: str) -> Path:
    """Write the document; to be used inside ``drawing.style()``.

    Returns:
        The page's path. It is written last: where it is, all is.
    """
    for figure in document.figures:
        write_bytes(folder / f"{figure.name}.png", figure.drawing.png())
    write_text(folder / f"{stem}.md", f"{as_markdown(document)}\n")
    page = folder / f"{stem}.html"
    write_text(page, as_page(document))
    return page


def _markdown(part: Part) -> str:
    if isinstance(part, Table):
        return markdown(part.rows, left=part.left)
    if isinstance(part, Figure):
        return f"![{part.drawing.words}]({part.name}.png)\n\n{part.caption}"
    if isinstance(part, Points):
        return "\n".join(f"- {text}" for text in part.texts)
    if isinstance(part, Command):
        return f"```sh\n{part.text}\n```"
    return f"**{part.text}**" if isinstance(part, Warned) else part
