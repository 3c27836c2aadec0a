"""The rooms of the project: small files, few in a folder, imports that go one way. Files are parsed, not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

MAX_LINES = 350
MAX_MODULES = 12
# Each may import from those before it; `pipeline/experiments/…` and other folders within a room count as the room.
ROOMS = [f"features.{room}" for room in ("util", "sources", "backbone", "cache", "engines", "exchange", "")]
ROOMS += [f"pipeline.{room}" for room in ("util", "pages", "quantum", "heads", "training", "devices", "explain")]
ROOMS += [f"pipeline.{room}" for room in ("inference", "report", "demo", "diagnostics", "experiments", "bench", "")]
FILES = [file for package in ("features", "pipeline") for file in sorted((ROOT / package).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(file: Path) -> str:
    """The module in a file: ``features.cache.store``; of a package's ``__init__.py``, ``features.cache``."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def imported(file: Path) -> Iterator[str]:
    """The project's modules that a file imports: at its top, inside functions, and for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{name.name}" for name in node.names]
            found = [name if name in MODULES else node.module for name in below]
        else:
            found = []
        yield from (name for name in found if name in MODULES)


def room_of(module: str) -> str:
    """The room of a module; "features." or "pipeline." of what lies in none. Stage 1's flags are everybody's."""
    if module == "features.config":
        return "features.util"
    package, room, *_ = [*module.split("."), ""]
    return f"{package}.{room}" if f"{package}.{room}" in ROOMS else f"{package}."


def test_every_file_can_be_read_in_one_go():
    files = [*FILES, *TESTS]
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_the_first_page_is_one_sitting():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("package", ["features", "pipeline", "tests"])
def test_no_folder_has_more_than_a_dozen_modules(package):
    folders = [folder for folder in (ROOT / package).rglob("*") if folder.is_dir()]
    counts = {
        str(folder.relative_to(ROOT)): sum(not file.name.startswith("__") for file in folder.glob("*.py"))
        for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_every_room_has_a_page():
    """What comes in and goes out, in which order to read, how to add what people add; `util` is on its parent's."""
    pages = [ROOT / room.rstrip(".").replace(".", "/") / "README.md" for room in ROOMS if not room.endswith(".util")]
    missing = {
        f"{page.relative_to(ROOT)}: {what}"
        for page in pages
        for what in (r"\bIn:|\| in \|", "Read in this order|Reading order", "To add|How to add")
        if not page.is_file() or not re.search(what, page.read_text(encoding="utf-8"))
    }
    assert missing == set()


def test_imports_go_one_way_from_room_to_room():
    against = [
        f"{name} imports {other}"
        for name, file in MODULES.items()
        for other in imported(file)
        if ROOMS.index(room_of(other)) > ROOMS.index(room_of(name))
    ]
    assert against == []


def test_no_modules_import_each_other_in_a_circle():
    # Raises CycleError, which names the circle.
    TopologicalSorter({name: set(imported(file)) - {name} for name, file in MODULES.items()}).prepare()


def test_no_test_imports_from_another_test():
    tests = {file.stem for file in TESTS if file.name.startswith("test_")}
    taken = {
        f"{file.relative_to(ROOT)} imports {node.module}"
        for file in TESTS
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[-1] in tests
    }
    assert taken == set()


def test_test_modules_have_names_of_their_own():
    """Else pytest can't collect both."""
    names = [file.name for file in TESTS if file.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
