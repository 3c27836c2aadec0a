"""How figures look, and how one drawing serves light and dark pages, wide and narrow ones.

In: a matplotlib figure. Out: a PNG file, and SVG as data URIs. A figure is drawn once, in the light palette; the dark
SVG is the same text with other colours, and the narrow one is the same figure with its panels one below the other.
"""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from features.util.files import write_atomically, write_bytes, write_text

PAPER, INK, MUTED, FAINT = "#ffffff", "#1f2328", "#59636e", "#d1d9e0"
# Hues that stay apart for colour-blind readers (Okabe and Ito, 2008); a marker of its own goes with each.
BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (AMBER, "v"), (SKY, "P"))
# On blue, whatever the page.
ON_BLUE = "#fefefe"
DARK = {
    "#000000": "#e6edf3",
    PAPER: "#151b23",
    INK: "#e6edf3",
    MUTED: "#9da7b3",
    FAINT: "#343c46",
    BLUE: "#4aa8e8",
    ORANGE: "#ff8f45",
    GREEN: "#2fc79a",
    PURPLE: "#e39cc6",
    AMBER: "#f5c04b",
    SKY: "#a5dcff",
}
NARROW_INCHES = 3.9

_STYLE: Any = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "patch.facecolor": PAPER,
    "patch.edgecolor": INK,
    "lines.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.size": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    # A class may be called "$5": its name is text, not mathematics.
    "text.parse_math": False,
    # Text stays text, in the reader's own letters: sharp, small, and in every script.
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": ["DejaVu Sans"],
}


@contextmanager
def style() -> Iterator[None]:
    """Figures drawn inside look like those of a report. Behind it they are closed, whatever happened."""
    plt.switch_backend("agg")
    before = set(plt.get_fignums())
    # matplotlib's own letters lack those of many scripts: a PNG then shows boxes, the page the right letters.
    with plt.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        try:
            yield
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def legend_below(figure: Figure) -> None:
    """One legend for all panels, below them, with each label once."""
    labelled = [axis.get_legend_handles_labels() for axis in figure.axes]
    unique = {label: handle for handles, labels in labelled for label, handle in zip(labels, handles, strict=True)}
    figure.legend(unique.values(), unique, loc="outside lower center", ncols=1)


def save_png(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as a PNG file, atomically, and free its memory."""
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=dpi))
    plt.close(figure)


@dataclass(frozen=True)
class Drawing:
    """A figure, and in words what it shows, for those who can't see it. To be used inside :func:`style`.

    Attributes:
        figure: The figure.
        words: What it shows.
        in_panels: Whether a phone gets its panels one below the other; it gets a grid that belongs together as it is.
        keeps_height: Whether its panels are as high there: rows of names take their height.
    """

    figure: Figure
    words: str
    in_panels: bool = True
    keeps_height: bool = False

    def png(self) -> bytes:
        """It as a PNG file."""
        encoded = io.BytesIO()
        self.figure.savefig(encoded, format="png", dpi=110)
        self._keep_layout()
        return encoded.getvalue()

    @cached_property
    def wide(self) -> dict[str, str]:
        """Data URIs of the ``light`` and the ``dark`` SVG."""
        uris = _data_uris(self.figure)
        self._keep_layout()
        return uris

    @cached_property
    def narrow(self) -> dict[str, str]:
        """The same for a phone."""
        if not self.in_panels:
            return self.wide
        _ = self.wide
        axes = self.figure.axes
        width, height = self.figure.get_size_inches()
        grid = GridSpec(len(axes), 1, figure=self.figure)
        for row, axis in enumerate(axes):
            axis.set_subplotspec(grid[row, 0])
        self.figure.set_layout_engine("constrained")
        panel = height if self.keeps_height else NARROW_INCHES * min(max(height / width * len(axes), 0.62), 1)
        self.figure.set_size_inches(NARROW_INCHES, panel * len(axes))
        return _data_uris(self.figure)

    def _keep_layout(self) -> None:
        # Laying out takes as long as drawing, and once is enough.
        self.figure.set_layout_engine("none")


@dataclass(frozen=True)
class KeptDrawing:
    """A drawing as it was kept on the disk, by an earlier command perhaps; as :class:`Drawing` to those who show it."""

    words: str
    wide: dict[str, str]
    narrow: dict[str, str]
    encoded: bytes

    def png(self) -> bytes:
        """It as a PNG file."""
        return self.encoded


def keep(drawing: Drawing, folder: Path, name: str) -> str:
    """Write ``NAME.png`` for people and ``.NAME.drawing`` for pages made later; what it shows, in words."""
    record = {"words": drawing.words, "wide": drawing.wide, "narrow": drawing.narrow}
    write_text(folder / f".{name}.drawing", json.dumps(record))
    write_bytes(folder / f"{name}.png", drawing.png())
    return drawing.words


def kept_drawing(folder: Path, name: str, words: str) -> KeptDrawing | None:
    """The drawing that :func:`keep` left; of earlier versions the PNG file alone, of one palette; None without it."""
    try:
        encoded = (folder / f"{name}.png").read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = json.loads((folder / f".{name}.drawing").read_text(encoding="utf-8"))
        return KeptDrawing(encoded=encoded, **record)
    except (OSError, ValueError, TypeError):
        uri = f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
        both = {"light": uri, "dark": uri}
        return KeptDrawing(words=words, wide=both, narrow=both, encoded=encoded)


def _data_uris(figure: Figure) -> dict[str, str]:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    light = text.getvalue().replace("'DejaVu Sans'", "system-ui, sans-serif")
    return {"light": _data_uri(light), "dark": _data_uri(_recoloured(light))}


def _recoloured(svg: str) -> str:
    return re.sub("#[0-9a-f]{6}", lambda found: DARK.get(found[0], found[0]), svg)


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
