"""A document as Markdown and as a page."""

from __future__ import annotations

import pytest
from browser import accessibility_problems
from matplotlib import pyplot as plt

from pipeline.pages.document import (
    Command,
    Document,
    Figure,
    Points,
    Section,
    Table,
    Warned,
    as_markdown,
    write_document,
)
from pipeline.util.drawing import Drawing, style

HOSTILE = "<script>alert(1)</script> & 'q' \"q\" | {{ 7 * 7 }}"


WIDE = Table(
    "As wide as the comparison's",
    [
        [
            "head",
            "trained",
            "accuracy, %",
            "95 %",
            "− classical, points",
            "95 %",
            "p",
            "p, Holm",
            "d",
            "visible from",
            "best on test, %",
            "CPU s",
        ],
        [
            "ends-frozen",
            "2,086",
            "80.9",
            "77.3 to 84.1",
            "+6.5",
            "−10.8 to +10.3",
            "< 0.001",
            "< 0.001",
            "+1.60",
            "9.0",
            "81.4",
            "0.30",
        ],
    ],
)


def document():
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    axes[0].plot([1, 2], [3, 4], label="a line")
    rows = [["head", "accuracy, %"], ["quantum", "94.5"], [HOSTILE, "1.0"]]
    parts = [
        Warned("Too few."),
        "A paragraph.",
        Table("Heads", rows),
        WIDE,
        Points(["one", "two"]),
        Command("make it --now"),
    ]
    parts.append(Figure("picture", Drawing(figure, "Two panels."), "What it shows."))
    return Document(
        "A study",
        f"Nothing differs; {HOSTILE}.",
        [Section(f"Figures {k}", parts) for k in range(3)],
        made="Made today.",
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("document")
    with style():
        write_document(document(), folder, "study")
    return folder


def test_it_leaves_a_page_its_markdown_and_its_pictures(written):
    assert {file.name for file in written.iterdir()} == {"study.html", "study.md", "picture.png"}
    text = (written / "study.md").read_text()
    for piece in (
        "Nothing differs",
        "### Figures",
        "**Too few.**",
        "| quantum ",
        "- one\n- two",
        "```sh\nmake it --now\n```",
        "](picture.png)",
    ):
        assert piece in text
    assert "```sh\nmake it --now\n```" in text


def test_a_terminal_gets_no_pictures():
    with style():
        text = as_markdown(document(), with_figures=False)
    assert "picture.png" not in text
    assert "| quantum " in text


def test_what_people_name_is_text_on_the_page(written):
    page = (written / "study.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_accessible_asks_nobody_and_fits(written, browser, width, dark):
    with browser.page((written / "study.html").as_uri(), width=width, dark=dark) as page:
        assert accessibility_problems(page) == []
        assert page.problems == []
        assert [url for url in page.requested if url.startswith("http")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if width == 1280:  # no column hides behind a scroll bar
            assert page.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
