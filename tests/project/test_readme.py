"""Every command and every piece of Python in the README is run, as it stands, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Run elsewhere: the tests by themselves, what takes minutes in small by its own tests; there is no .venv to activate.
ELSEWHERE = ("make test", "make bench", "make bench-peers", "source .venv/bin/activate", "make compare")
ELSEWHERE += ("make compare SEEDS=100", "make paper", "make sweep")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands():
    lines = [line.split("  #")[0].rstrip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and line not in ELSEWHERE]


@pytest.fixture
def copy_of_the_project(tmp_path, picture_folder_once, random_weights):
    """A copy to work in, beside a home folder with pictures; no way to the network."""
    project, home = tmp_path / "project", tmp_path / "home"
    ignored = shutil.ignore_patterns("out", ".venv*", ".git", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
    shutil.copytree(ROOT, project, ignore=ignored)
    shutil.copytree(picture_folder_once, home / "pictures")
    shutil.copytree(picture_folder_once / "val", project / "holiday")
    shutil.copy(next(picture_folder_once.rglob("*.png")), project / "new.jpg")
    shutil.copy(random_weights, home / "resnet18.pth")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {
        **inherited,
        **nowhere,
        "PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "TORCH_HOME": str(home / "torch"),
    }
    return project, environment


def test_its_commands_and_then_its_python_run(copy_of_the_project):
    project, environment = copy_of_the_project
    lines = commands()
    assert "make eval" in lines
    assert len(lines) >= 10
    for line in lines:
        # Without a network the weights for one's own pictures are a file.
        command = line.replace("DATA=~/pictures", "DATA=~/pictures WEIGHTS=~/resnet18.pth")
        command = command.replace("--data ~/pictures", "--data ~/pictures --weights ~/resnet18.pth")
        finished = subprocess.run(
            ["bash", "-c", command], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
    assert (project / "out/mine/run/report.html").is_file()
    for block in blocks("python"):
        finished = subprocess.run(
            [sys.executable, "-c", block], cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, f"{block}\n{finished.stderr}"
    assert (project / "out/run/heads.json").is_file()


def test_its_file_tree_is_the_projects():
    tree = next(block for block in blocks("text") if block.startswith("features/"))
    listed: set[str] = set()
    folders: list[str] = []
    for line in tree.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        del folders[depth:]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.add("".join(folders) + name)
    for package in ("features", "pipeline"):
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).glob("*.py")}
        assert {name for name in modules if not name.endswith(("__init__.py", "__main__.py"))} <= listed
        assert all((ROOT / name).exists() for name in listed)


def test_its_pictures_exist():
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / name).is_file(), name
