"""The command line of stage 1, mostly as a process of its own: what it prints, its exit code, what it leaves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import names_in, wait_for

from features import __main__ as command_line
from features.config import ExtractConfig
from features.errors import run_command
from features.extract import make_features

ROOT = Path(__file__).parents[1]


def features(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "features", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        check=False,
    )


def in_this_process(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The same without a new interpreter."""
    monkeypatch.setattr(sys, "argv", ["features", *map(str, arguments)])
    return run_command(command_line.main)


def said(text: str) -> str:
    """What a framed message says, on one line."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text).strip()


def test_offline_end_to_end(tmp_path: Path) -> None:
    ended = features("--offline", "--out", "out/f.h5", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == (
        "out/f.h5: train (244, 512), val (153, 512) float32, classes ants, bees: packaged features"
    )
    assert names_in(tmp_path / "out") == ["f.h5"]


def test_an_unknown_flag_is_guessed() -> None:
    ended = features("--ofline")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Unrecognized options: --ofline" in said(ended.stderr)
    assert "Perhaps you meant: --offline Download nothing" in said(ended.stderr)


def test_all_values_out_of_range_are_said_at_once(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        in_this_process(monkeypatch, "--batch", 0, "--workers", -3, "--data", "", "--weights", "")
    assert caught.value.code == 2
    assert (
        "--batch is 0; it must be 1 or more; --workers is -3; it must be 0 or more; "
        "--data is empty; give `hymenoptera` or a folder; --weights is empty; give IMAGENET1K_V1 or a file"
    ) in said(capsys.readouterr().err)


def test_a_value_of_the_wrong_kind(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        in_this_process(monkeypatch, "--batch", "many")
    assert caught.value.code == 2
    assert "Error parsing --batch" in said(capsys.readouterr().err)


def test_help_explains_every_flag(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        in_this_process(monkeypatch, "--help")
    assert caught.value.code == 0
    text = said(capsys.readouterr().out)
    for flag in ("--data", "--weights", "--out", "--offline", "--force", "--batch", "--workers", "--note"):
        assert flag in text
    assert "--no-offline" not in text


def test_a_mistake_is_one_message_and_no_traceback(tmp_path: Path, random_weights: Path) -> None:
    ended = features("--data", tmp_path / "nowhere", "--weights", random_weights, "--out", tmp_path / "out/f.h5")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: there is no folder {tmp_path}/nowhere; --data (make: DATA=) takes `hymenoptera`, a folder, a "
        ".csv or .parquet list, or the name of a torchvision data set (cifar10, oxford-iiit-pet, …).\n"
    )
    assert names_in(tmp_path) == []


def test_a_full_disk_leaves_nothing_but_the_earlier_file(tmp_path: Path, feature_file: Path) -> None:
    """The limit on a file's size stands in for the disk: it needs no rights and stops the same writes."""
    before = feature_file.read_bytes()
    limited = "import resource, runpy, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
    limited += "sys.argv[0] = 'features'\nrunpy.run_module('features', run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", limited, "--offline", "--out", str(feature_file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: the file is larger than the system's limit for one file; raise the limit (ulimit -f): "
        f"[Errno 27] File too large: '{tmp_path}/.synthetic.h5.part'\n"
    )
    assert names_in(tmp_path) == ["synthetic.h5"]
    assert feature_file.read_bytes() == before


def start_extraction(pictures: Path, weights: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    """A long extraction in a process group of its own, once its first rows are written."""
    for copy in range(60):
        shutil.copy(pictures / "train/red/0.png", pictures / f"train/red/copy{copy}.png")
    flags = ["--data", pictures, "--weights", weights, "--out", out, "--workers", workers, "--batch", 1]
    running = subprocess.Popen(
        [sys.executable, "-m", "features", *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C; where the tests run as one, this process must not inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    part = out.with_name(".f.h5.part")
    wait_for(lambda: part.exists() and part.stat().st_size > 60_000, seconds=60)
    return running


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_in_mid_extraction(picture_folder: Path, random_weights: Path, tmp_path: Path, workers: int) -> None:
    """As a terminal sends it: to the main process and to its workers."""
    out = tmp_path / "out/f.h5"
    out.parent.mkdir()
    shutil.copy(ROOT / "features/data/hymenoptera.h5", out)
    before = out.read_bytes()
    running = start_extraction(picture_folder, random_weights, out, workers)
    os.killpg(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (
        130,
        "\nstopped by Ctrl-C; no half-written file is left\n",
    )
    assert output == f"making the features again: other images and weights than those of {out}\n"
    assert names_in(out.parent) == ["f.h5"]
    assert out.read_bytes() == before


def test_killed_and_run_again(picture_folder: Path, random_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out/f.h5"
    running = start_extraction(picture_folder, random_weights, out, workers=2)
    running.kill()
    running.wait()
    for pipe in (running.stdout, running.stderr):
        assert pipe is not None
        pipe.close()
    assert names_in(out.parent) == [".f.h5.part"]
    # At once, while orphaned workers may still be there.
    for copy in picture_folder.glob("train/red/copy*"):
        copy.unlink()
    made = make_features(ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=out, workers=0))
    assert len(made.train.paths) == 8
    assert names_in(out.parent) == ["f.h5"]
