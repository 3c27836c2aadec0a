"""What the READMEs show is run as it stands, in a copy of the project, without a network.

Run are the lines of ``sh`` blocks and whole ``python`` blocks, each in a process of its own, in the order of the page.
A ``py`` block that begins with a file's name, ``# my_circuit.py``, is that file.
A page other than the first starts from what ``make eval OFFLINE=1`` leaves. Shown only, and not run, are

- blocks with another tag: ``text``, ``py``;
- blocks below a line ``<!-- not run: REASON -->``;
- command lines whose comment says that they take minutes or hours: ``make compare  # 20 minutes``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("features", "pipeline")
PAGES = [ROOT / "README.md", *(page for package in PACKAGES for page in sorted((ROOT / package).rglob("README.md")))]
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n+)?```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```py\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONG = re.compile(r"\s#.*\b(minutes?|hours?)\b")


def commands(page: Path) -> Iterator[tuple[str, ...]]:
    """What a page asks a reader to run: ``bash -c LINE`` or ``python -c BLOCK``."""
    for not_run, language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not_run:
            continue
        if language == "python":
            yield ("python", "-c", block)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("  #")[0].strip()
            if command and not command.startswith("#") and not LONG.search(line):
                yield ("bash", "-c", command)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUN = [pytest.param(page, id=name(page)) for page in PAGES]


class Copy:
    """A copy of the project beside a home folder with pictures; its processes can't reach the network."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.project, self.home = folder / "project", folder / "home"
        scripts = folder / "bin"
        scripts.mkdir()
        for script, target in (
            tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("scripts", {}).items()
        ):
            module, function = target.split(":")
            code = f"import sys, {module}; sys.argv[0] = '{script}'; sys.exit({module}.{function}())"
            (scripts / script).write_text(f'#!/bin/sh\nexec {python} -c "{code}" "$@"\n')
            (scripts / script).chmod(0o755)
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
        self.environment = inherited | nowhere
        self.environment |= {
            "PYTEST_ADDOPTS": "--collect-only",  # else a ``make test`` that is not marked as long would start all over
            "PYTHON": str(python),
            "PATH": os.pathsep.join([str(scripts), str(python.parent), os.environ["PATH"]]),
            "HOME": str(self.home),
            "TORCH_HOME": str(self.home / "torch"),
        }

    def run(self, *command: str) -> None:
        finished = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, f"{command[-1]}\n{finished.stdout}\n{finished.stderr}"


@pytest.fixture
def fresh(tmp_path: Path, picture_folder_once: Path, random_weights: Path, warm_python: Path) -> Copy:
    """The project as it is cloned."""
    copy = Copy(tmp_path, warm_python)
    project, home = copy.project, copy.home
    ignored = shutil.ignore_patterns("out", ".venv*", ".git", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
    shutil.copytree(ROOT, project, ignore=ignored)
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/activate").touch()
    shutil.copytree(picture_folder_once, home / "pictures")
    shutil.copytree(picture_folder_once / "val", project / "holiday")
    shutil.copy(next(picture_folder_once.rglob("*.png")), project / "new.jpg")
    shutil.copy(random_weights, home / "resnet18.pth")
    return copy


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Path:
    """What ``make eval OFFLINE=1`` leaves."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    command = ["make", "-C", str(ROOT), "eval", "OFFLINE=1", f"OUT={out}", f"PYTHON={warm_python}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return out


@pytest.mark.parametrize("page", RUN)
def test_what_it_shows_runs(page: Path, fresh: Copy, request: pytest.FixtureRequest) -> None:
    if page != PAGES[0]:
        shutil.copytree(request.getfixturevalue("evaluated"), fresh.project / "out")
    for file, content in FILE.findall(page.read_text(encoding="utf-8")):
        (fresh.project / file).write_text(content)
    for *interpreter, command in commands(page):
        # Without a network the weights for one's own pictures are a file.
        command = command.replace("DATA=~/pictures", "DATA=~/pictures WEIGHTS=~/resnet18.pth")
        command = command.replace("--data ~/pictures", "--data ~/pictures --weights ~/resnet18.pth")
        fresh.run(*interpreter, command)


def test_the_first_page_begins_with_an_evaluation() -> None:
    shown = list(commands(PAGES[0]))
    assert shown[0][-1] == "make eval"
    assert len(shown) >= 5
    assert "make test" not in [command for *_, command in shown]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_it_links_to_exists(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_it_names_every_module_and_folder_beside_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    beside = [*page.parent.glob("[!_]*.py"), *(init.parent for init in page.parent.glob("*/__init__.py"))]
    assert [name(file) for file in sorted(beside) if not re.search(rf"\b{file.stem}\b", text)] == []
