"""The command line of stage 1, mostly as a process of its own: what it prints, its exit code, what it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, names_in

from features.__main__ import FEATURES
from features.cache.store import verify_features
from features.util.commands import main


def features(python: Path, *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "features", *map(str, arguments)],
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
    return main(FEATURES, "python -m features")


def said(text: str) -> str:
    """What a framed message says, on one line."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text).strip()


def test_offline_end_to_end(warm_python: Path, tmp_path: Path) -> None:
    ended = features(warm_python, "--offline", "--out", "out/f.h5", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == (
        "out/f.h5: train (244, 512), val (153, 512) float32, classes ants, bees: packaged features"
    )
    assert names_in(tmp_path / "out") == ["f.h5"]


def test_all_mistakes_are_said_at_once(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        in_this_process(monkeypatch, "--ofline", "--batch", 0, "--workers", "many", "--data", "", "--weights", "") == 2
    )
    assert capsys.readouterr() == (
        "",
        "error: 5 mistakes:\n"
        "  there is no flag --ofline (did you mean --offline?)\n"
        "  --batch is 0; it must be 1 or more\n"
        "  --workers is 'many'; it must be a whole number, 1 or more\n"
        "  --data is empty; give `hymenoptera`, a folder, a list or a torchvision data set\n"
        "  --weights is empty; give IMAGENET1K_V1 or a file\n",
    )


def test_a_mistyped_command_is_guessed(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_this_process(monkeypatch, "verfy", "f.h5") == 2
    assert capsys.readouterr() == ("", "error: there is no command verfy (did you mean verify?)\n")
    assert in_this_process(monkeypatch, "verify") == 2
    assert capsys.readouterr() == ("", "error: no FILE is given; name one\n")


def test_help_explains_every_flag(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        in_this_process(monkeypatch, "--help")
    assert caught.value.code == 0
    text = said(capsys.readouterr().out)
    for flag in ("--data", "--weights", "--out", "--offline", "--force", "--batch", "--workers", "--note"):
        assert flag in text
    assert "--no-offline" not in text


def test_a_mistake_is_one_message_and_no_traceback(warm_python: Path, tmp_path: Path, random_weights: Path) -> None:
    ended = features(
        warm_python, "--data", tmp_path / "nowhere", "--weights", random_weights, "--out", tmp_path / "out/f.h5"
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: there is no folder {tmp_path}/nowhere; --data (make: DATA=) takes `hymenoptera`, a folder, a "
        ".csv or .parquet list, a MedMNIST set (medmnist:pneumoniamnist, …), or "
        "the name of a torchvision data set (cifar10, oxford-iiit-pet, …).\n"
    )
    assert names_in(tmp_path) == []


def test_a_full_disk_leaves_nothing_but_the_earlier_file(warm_python: Path, tmp_path: Path, feature_file: Path) -> None:
    """The limit on a file's size stands in for the disk: it needs no rights and stops the same writes."""
    before = feature_file.read_bytes()
    limited = "import resource, runpy, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
    limited += "sys.argv[0] = 'features'\nrunpy.run_module('features', run_name='__main__')"
    ended = subprocess.run(
        [warm_python, "-c", limited, "--offline", "--out", str(feature_file)],
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


def test_verify(tmp_path: Path, feature_file: Path, monkeypatch, capsys) -> None:
    assert in_this_process(monkeypatch, "verify", feature_file) == 0
    assert capsys.readouterr().out == (
        f"{feature_file}: train (24, 512), val (12, 512) float32, classes blue, red: whole, every byte is as it was "
        "written\n"
    )
    assert in_this_process(monkeypatch, "verify", "--json", feature_file) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(feature_file),
        "whole": True,
        "content_sha256": verify_features(feature_file).content_sha256,
    }
    content = bytearray(feature_file.read_bytes())
    content[len(content) // 2] ^= 4
    feature_file.write_bytes(content)
    assert in_this_process(monkeypatch, "verify", feature_file) == 2
    assert capsys.readouterr().err.startswith(f"error: {feature_file} is damaged")


def test_info(feature_file: Path, monkeypatch, capsys) -> None:
    assert in_this_process(monkeypatch, "info", feature_file) == 0
    told = dict(re.split(r"(?<=^.{10}) ", line, maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    told = {name.strip(): text for name, text in told.items()}
    assert told["train"] == "24 × 512 float32: blue 12, red 12"
    assert told["images"].startswith("synthetic (no_such_folder), sha256 ")
    assert told["note"] == "made by a test"
    assert in_this_process(monkeypatch, "info", feature_file, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["splits"]["val"] == {"rows": 12, "width": 512, "images_by_class": {"blue": 6, "red": 6}}
    assert record["classes"] == ["blue", "red"]
    assert record["bytes"] == feature_file.stat().st_size
    assert in_this_process(monkeypatch, "info", ROOT / "no.h5") == 2
    assert f"there is no feature file {ROOT}/no.h5" in capsys.readouterr().err


def test_the_list_of_backbones(monkeypatch, capsys) -> None:
    assert in_this_process(monkeypatch, "--list-backbones") == 0
    listed = capsys.readouterr().out
    assert re.search(r"^resnet18 +512 .*IMAGENET1K_V1", listed, re.MULTILINE)
    assert re.search(r"^vit_b_16 +768 ", listed, re.MULTILINE)
