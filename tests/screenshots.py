"""The README's pictures of pages, taken in a browser: ``python tests/screenshots.py RUN TARGET [FLAG …]``.

RUN is the folder of an evaluated run, TARGET the folder for the PNG files, FLAGs are those of the demo.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import sklearn.datasets
from browser import open_browser
from server import serving

# A photograph by vultilion that comes with scikit-learn, CC BY 2.0: it may be shown here, unlike the data set's own.
FLOWER = Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg"


def demo_picture(browser: Any, run: Path, target: Path, *flags: str) -> None:
    """Write ``demo.png``: the page of ``make demo`` after a picture was dropped on it, without those to try."""
    with serving(run.resolve(), *flags) as server, browser.page(server.url, width=1280, height=100) as page:
        page.evaluate("document.querySelectorAll('#examples, #about').forEach((one) => one.remove())")
        page.set_input_files("#files", FLOWER)
        page.locator("#answer .verdict").wait_for()
        page.locator("#own:enabled").wait_for()
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=target / "demo.png", full_page=True)


def report_pictures(browser: Any, run: Path, target: Path) -> None:
    """Write ``report.png`` and ``report_phone.png``: how the report begins on a desk and, in the dark, on a phone."""
    report = (run / "report.html").resolve().as_uri()
    for name, dark, width in (("report.png", False, 1100), ("report_phone.png", True, 390)):
        with browser.page(report, dark=dark, width=width, height=1500) as page:
            page.screenshot(path=target / name)


if __name__ == "__main__":
    run, target = map(Path, sys.argv[1:3])
    with open_browser() as browser:
        report_pictures(browser, run, target)
        demo_picture(browser, run, target, *sys.argv[3:])
