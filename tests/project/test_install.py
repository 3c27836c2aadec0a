"""What make installs, and when: with stand-ins for python3 and uv that only write down how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT

# `python3 -m venv` makes .venv/bin/python, again this stand-in, whose `pip install uv` makes .venv/bin/uv if it can.
PYTHON = """#!/bin/sh
echo "$(basename $0) $*" >> "$LOG"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$STANDINS/python3" .venv/bin/python;;
  *"pip install --quiet uv") cp "$STANDINS/uv.to.be.had" .venv/bin/uv 2>/dev/null;;
  *"pip install"*) echo "pip talks";;
  *"pip config list") cat "$STANDINS/pip.config" 2>/dev/null;;
esac
"""
UV = """#!/bin/sh
echo "uv $*" >> "$LOG"
env | grep ^UV_ | grep -v UV_ENDS | sort > "$STANDINS/uv.env"
echo "uv talks"
exit $UV_ENDS
"""
EVAL = "uv pip install --python .venv/bin/python -e .[fast]"


class Checkout:
    """A folder with the project's Makefile, in which installing is only written down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.standins, self.log = folder / "checkout", folder / "bin", folder / "log"
        self.folder.mkdir()
        self.standins.mkdir()
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        for name, script in (("python3", PYTHON), ("uv.to.be.had", UV)):
            (self.standins / name).write_text(script)
            (self.standins / name).chmod(0o755)

    def make(
        self, *arguments: str, uv_ends: int = 0, **environment: str
    ) -> tuple[list[str], subprocess.CompletedProcess[str]]:
        """What was installed by a call of make, and what it printed."""
        self.log.write_text("")
        tools = "/usr/bin:/bin"
        ended = subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": f"{self.standins}:{tools}", "LOG": str(self.log), "STANDINS": str(self.standins),
                 "UV_ENDS": str(uv_ends), "HOME": str(self.folder), **environment},
        )  # fmt: skip
        return [line for line in self.log.read_text().splitlines() if " install " in line], ended


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_eval_installs_what_running_needs_once_and_with_uv(checkout: Checkout) -> None:
    installed, ended = checkout.make("eval")
    assert installed == ["python -m pip install --quiet uv", EVAL]
    assert "talks" not in ended.stdout  # standard output is for programs: make predict ARGS=--csv > table.csv
    assert "Installing into .venv" in ended.stderr
    assert checkout.make("eval", "features", "train")[0] == []


def test_what_running_needs_is_no_tool_of_the_project() -> None:
    lines = (ROOT / "pyproject.toml").read_text()
    needed = lines.split("dependencies = [")[1].split("]")[0] + lines.split("fast = [")[1].split("]")[0]
    for name in ("ray", "qiskit", "playwright", "mypy", "optuna", "hypothesis", "pytest", "ruff", "pyarrow"):
        assert name not in needed


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["sweep"], "sweep"),
        (["lint"], "dev"),
        (["test"], "dev"),
        (["compare", "ARGS=--engine ray"], "ray"),
        (["features", "ARGS=--engine=ray"], "ray"),
        (["eval", "ARGS=--q-device qiskit.aer"], "qiskit"),
        (["eval", "DATA=list.parquet"], "parquet"),
    ],
)
def test_a_target_brings_its_extra_and_says_so(checkout: Checkout, arguments: list[str], extra: str) -> None:
    checkout.make("install")
    installed, ended = checkout.make(*arguments)
    assert installed == [f"uv pip install --python .venv/bin/python -e .[{extra}]"]
    assert ended.stderr.splitlines()[0] == f"Adding to .venv what this needs: the extra {extra}"
    assert "talks" not in ended.stdout
    assert checkout.make(*arguments)[0] == []


def test_a_changed_pyproject_is_installed_again(checkout: Checkout) -> None:
    checkout.make("sweep")
    made = time.time() - 10
    os.utime(checkout.folder / "pyproject.toml", (made, made))
    for stamp in (checkout.folder / ".venv").glob(".ready*"):
        os.utime(stamp, (made - 10, made - 10))
    assert checkout.make("eval")[0] == [EVAL]
    assert checkout.make("sweep")[0] == [EVAL.replace("fast", "sweep")]


def test_pip_does_it_where_uv_fails_or_is_not_to_be_had(checkout: Checkout) -> None:
    installed, ended = checkout.make("install", uv_ends=1)
    assert installed == ["python -m pip install --quiet uv", EVAL, "python -m pip install -e .[fast]"]
    assert "uv did not install it; pip does" in ended.stderr
    shutil.rmtree(checkout.folder / ".venv")
    (checkout.standins / "uv.to.be.had").unlink()
    installed, ended = checkout.make("sweep")
    assert installed == [
        "python -m pip install --quiet uv",
        "python -m pip install -e .[fast]",
        "python -m pip install -e .[sweep]",
    ]
    assert ended.returncode == 0


def test_a_uv_of_the_machine_is_used(checkout: Checkout) -> None:
    (checkout.standins / "uv.to.be.had").rename(checkout.standins / "uv")
    installed, _ = checkout.make("install")
    assert installed == [EVAL]


def test_uv_takes_this_machines_indexes_and_constraints_from_pip(checkout: Checkout) -> None:
    (checkout.standins / "pip.config").write_text(
        ":env:.index-url='https://mirror/simple'\n"
        "global.cert='/etc/ca.crt'\n"
        "global.constraint='/etc/constraints.txt'\n"
        "global.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'\n"
        "global.find-links='/wheels /more'\n"
        "global.index-url='https://pypi/simple'\n"
    )
    settings = {
        "UV_COMPILE_BYTECODE": "1",
        "UV_CONSTRAINT": "/etc/constraints.txt",
        "UV_DEFAULT_INDEX": "https://mirror/simple",  # a variable counts more than a file, as with pip
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": " https://a/simple https://b/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    given = {"UV_FIND_LINKS": "/mine"}
    for own in ({}, given):
        shutil.rmtree(checkout.folder / ".venv", ignore_errors=True)
        checkout.make("install", **own)
        lines = (checkout.standins / "uv.env").read_text().splitlines()
        assert lines == [f"{name}={value}" for name, value in (settings | own).items()]


def test_torch_and_torchvision_come_from_the_same_index(checkout: Checkout) -> None:
    installed, _ = checkout.make("install", "INDEX=https://an.index/cpu")
    assert installed[1:] == [EVAL.replace("-e .[fast]", "--index-url https://an.index/cpu torch torchvision"), EVAL]


def test_an_environment_of_the_users_is_left_alone(checkout: Checkout) -> None:
    shutil.copy(checkout.standins / "python3", checkout.standins / "mine")
    installed, _ = checkout.make("demo", f"PYTHON={checkout.standins}/mine")
    assert installed == []
    assert not (checkout.folder / ".venv").exists()
