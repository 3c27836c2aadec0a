"""A real browser for tests of pages: headless Chromium, driven by Playwright, with axe-core to judge accessibility."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# Nothing but the page under test is to be loaded: a browser's own calls home only slow it down without a network.
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """A running browser."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def page(
        self, url: str, *, dark: bool = False, width: int = 1200, height: int = 900, script: bool = True
    ) -> Iterator[Any]:
        """A page of Playwright's; ``page.problems`` lists what its console and its requests complained of, and
        ``page.requested`` every address it asked for."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        page = context.new_page()
        page.problems, page.requested = [], []
        page.on("console", lambda said: said.type in ("error", "warning") and page.problems.append(said.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("requestfailed", lambda request: page.problems.append(f"{request.url}: {request.failure}"))
        try:
            page.goto(url)
            yield page
        finally:
            context.close()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the system's Chromium, else Playwright's own; skips the test where neither is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install '.[dev]')")
    system = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as driver:
        try:
            # Chromium refuses to run its sandbox as root, as in a container.
            chromium = driver.chromium.launch(
                executable_path=system, args=[*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            )
        except playwright.Error:
            if system:
                raise
            pytest.skip("needs Chromium: apt-get install chromium, or playwright install chromium")
        yield Browser(chromium)
        chromium.close()


def accessibility_problems(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2 A and AA and its best practices, a line each with the place on the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]
