"""The three stages as a stranger runs them, one process each, on generated pictures and a random ResNet18."""

import csv
import io
import json
import re
import subprocess
import sys

import h5py
import pytest
from PIL import Image
from safetensors import safe_open

from pipeline.cli import main

STAGE_FILES = {
    "features.h5",
    "run",
    "run/head.safetensors",
    "run/run.json",
    "run/history.jsonl",
    "run/checkpoint.pt",
    "run/report.json",
    "run/report.html",
    "run/learning_curves.png",
    "run/confusion_matrix.png",
    "run/predictions.png",
    "run/reliability.png",
    "run/curves.png",
    "run/projection.png",
    "run/circuit.png",
    "run/contributions.png",
    "run/predictions.csv",
}


@pytest.fixture(scope="module")
def out(picture_folder_once, random_weights, warm_python, tmp_path_factory):
    """The folder that the three stages leave."""

    def python(*arguments):
        command = [warm_python, "-m", *map(str, arguments)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert "Warning" not in finished.stderr

    out = tmp_path_factory.mktemp("out")
    python("features", "--data", picture_folder_once, "--weights", random_weights, "--out", out / "features.h5")
    python("pipeline", "train", "--features", out / "features.h5", "--out", out / "run", "--epochs", "2")
    python("pipeline", "eval", "--run", out / "run")
    return out


def test_it_leaves_exactly_these_files(out):
    assert {str(path.relative_to(out)) for path in out.rglob("*")} == STAGE_FILES


def test_every_picture_is_a_row(out, picture_folder_once):
    with h5py.File(out / "features.h5") as file:
        for split in ("train", "val"):
            n = len(list((picture_folder_once / split).rglob("*.png")))
            assert file[split]["features"].shape == (n, 512)
            assert file[split]["labels"].shape == (n,)


def test_the_head_has_2086_parameters_in_both_epochs(out):
    with safe_open(out / "run/head.safetensors", framework="pt") as file:
        sizes = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118
    for which in ("last", "best"):
        assert sum(size for name, size in sizes.items() if name.startswith(which)) == 2086


def test_the_report_says_that_images_and_cache_agree(out):
    record = json.loads((out / "run/report.json").read_text())
    assert record["source"] == "images"
    assert record["parity"]["holds"]
    assert record["epochs"]["last"]["epoch"] == 2


def test_the_page_needs_nothing_beside_it(out, picture_folder_once):
    page = (out / "run/report.html").read_text()
    n = len(list((picture_folder_once / "val").rglob("*.png")))
    assert page.count('src="data:image/svg+xml;base64,') == 7
    # Each picture once.
    assert page.count('src="data:image/jpeg;base64,') == n
    assert page.count("<img") == page.count('src="data:image/')
    assert "http" not in re.sub('data:[^"]*', "", page)


def test_every_picture_opens(out):
    for name in STAGE_FILES:
        if name.endswith(".png"):
            with Image.open(out / name) as picture:
                picture.load()
                assert min(picture.size) > 100


def test_predict_as_table_json_and_csv(out, picture_folder_once, command, capsys):
    images = picture_folder_once / "val"
    n = len(list(images.rglob("*.png")))
    printed = {}
    for form in ("", "--json", "--csv"):
        assert command("predict", images, "--run", out / "run", *form.split()) == 0
        printed[form] = capsys.readouterr().out
    table = printed[""].splitlines()
    assert table[0].split() == ["class", "probability", "image"]
    assert len(table) == n + 1
    rows = json.loads(printed["--json"])
    assert len(rows) == n
    assert set(rows[0]) == {"image", "class", "probabilities"}
    parsed = list(csv.DictReader(io.StringIO(printed["--csv"])))
    assert [row["class"] for row in parsed] == [row["class"] for row in rows]


def test_predict_reports_bad_files_and_goes_on_with_the_rest(out, picture_folder_once, tmp_path, command, capsys):
    good = next((picture_folder_once / "val").rglob("*.png"))
    (tmp_path / "bad.jpg").write_bytes(b"")
    assert command("predict", tmp_path / "bad.jpg", good, "--run", out / "run") == 2
    printed = capsys.readouterr()
    assert str(good) in printed.out
    assert "1 of 2 files could not be read" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epocs", "3"], "--epochs"),
        (["train", "--epochs", "0", "--lr", "-1"], "--lr is -1.0; it must be more than 0"),
        (["eval", "--run", "/no/such/run"], "there is no run folder /no/such/run"),
        (["train", "--features", "/no/such.h5"], "there is no feature file /no/such.h5"),
        (["predict"], "no images given"),
        (["predict", "/no/such.jpg"], "/no/such.jpg: no such file or folder"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments, message, command, capsys):
    assert command(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_target_that_can_not_be_made_is_a_clear_error(out, command, capsys):
    assert command("train", "--features", out / "features.h5", "--out", "/proc/run") == 2
    assert "--out /proc/run can't be made" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch):
    """The command line in this process: arguments in, exit code out."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pipeline", *map(str, arguments)])
        try:
            return main()
        except SystemExit as end:
            return end.code

    return run


def test_help_teaches(command, capsys):
    for stage in ("train", "eval", "predict"):
        assert command(stage, "--help") == 0
        text = capsys.readouterr().out
        assert "--run" in text or "--features" in text
        assert "default" in text
