"""The wheel: built from the checkout, installed into an empty environment, and run in a folder elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


def run(folder: Path, *words: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_wheel_holds_every_file_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "features", "pipeline"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    source, folder = tmp_path / "source", tmp_path / "elsewhere"
    folder.mkdir()
    for name in [*tracked.stdout.split(), "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    run(source, sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    assert set(tracked.stdout.split()) <= set(zipfile.ZipFile(wheel).namelist())

    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    # The libraries are those of this environment: they need not be downloaded again. A path in a .pth file brings the
    # packages of its folder, but not the checkout that is installed there.
    site = Path(run(folder, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "libraries.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    run(folder, python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", "--no-index", wheel)
    where = run(folder, python, "-c", "import features, pipeline; print(features.__file__, pipeline.__file__)")
    assert all(Path(name).is_relative_to(site) for name in where.split())

    command = tmp_path / "empty/bin/quantum-transfer"
    assert run(folder, command, "--version").startswith("quantum-transfer ")
    run(folder, command, "features", "--offline")
    run(folder, command, "train", "--epochs", "1")
    run(folder, command, "eval")
    assert (folder / "out/run/report.html").is_file()
