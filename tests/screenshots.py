"""The README's pictures of pages, taken in a browser: ``python tests/screenshots.py RUN TARGET``.

RUN is the folder of a run whose pictures and weights are at hand, TARGET the folder for the PNG files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from browser import open_browser
from server import serving


def demo_picture(browser: Any, run: Path, target: Path) -> None:
    """Write ``demo.png``: the page of ``make demo`` after one of its examples was clicked."""
    with serving(run.resolve()) as server, browser.page(server.url, width=1100, height=100) as page:
        page.locator(".examples button").nth(3).click()
        page.locator(".answer").wait_for()
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.wait_for_function("!document.querySelector('.pending') && !document.getAnimations().length")
        page.screenshot(path=target / "demo.png", full_page=True)


if __name__ == "__main__":
    run, target = map(Path, sys.argv[1:])
    with open_browser() as browser:
        demo_picture(browser, run, target)
