"""Which worker of pytest-xdist runs which tests: those that share costly fixtures stay together."""

from __future__ import annotations

import re
from typing import Any

import pytest

# The longest begin, so that no worker is left with one at the end.
FIRST = (
    "tests/project/",
    "tests/demo/",
    "tests/engines/",
    "tests/experiments/",
    "tests/compare/",
    "tests/backbone/",
    "tests/cache/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest rooms first; within a room, files and tests keep their order."""
    items.sort(key=lambda item: next((at for at, room in enumerate(FIRST) if item.nodeid.startswith(room)), len(FIRST)))


def group_of(nodeid: str) -> str:
    """What runs on one worker: a file; the demo's room, for its one server; a README, for its many commands."""
    page = re.search(r"\[(.*README\.md)\]$", nodeid)
    file = nodeid.split("::")[0]
    return page[1] if page else "demo" if file.startswith("tests/demo/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share these groups out; `--dist loadgroup` would, but pytest-xdist 3.8 loses its marks under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)
