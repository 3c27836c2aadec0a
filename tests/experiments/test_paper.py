"""The command that makes the paper's table, and keeps what is done."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torchvision
from conftest import names_in
from image_features import write_pair

from features.util.errors import InputError, run_command
from pipeline.clean import clean
from pipeline.experiments.paper import images
from pipeline.experiments.paper.config import PaperConfig
from pipeline.experiments.paper.paper import paper
from pipeline.experiments.paper.plane import tasks as plane
from pipeline.experiments.paper.rows import ROWS
from pipeline.util.records import to_record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path):
    features = write_pair(tmp_path / "features.h5", ("ants", "bees"))
    return PaperConfig(features=features, out=tmp_path / "paper", seeds=2, rows=("cc", "cq"))


def test_the_table_is_written_and_a_row_done_with_the_same_settings_is_kept(config, capsys, monkeypatch):
    table = paper(config)
    assert names_in(config.out) == ["paper.csv", "paper.html", "paper.json", "paper.md"]
    assert [row.name for row in table.rows] == ["cc", "cq"]
    assert json.loads((config.out / "paper.json").read_text()) == to_record(table)
    assert capsys.readouterr().out.endswith(
        f"{config.out / 'paper.html'}: the table and its pictures; in paper.md too, numbers in .json and .csv\n"
    )
    # 0.9673, the paper's, stands beside ours.
    assert "| 0.9673 " in (config.out / "paper.md").read_text()

    monkeypatch.setattr(images, "train_heads", None)
    again = paper(config)
    assert "cc: kept, done before" in capsys.readouterr().out
    assert again.rows == table.rows


def test_a_row_whose_picture_is_gone_is_run_again(config, capsys):
    config = replace(config, rows=("qc",))
    paper(config)
    (config.out / "tetrominoes.png").unlink()
    assert "kept" not in run_and_read(config, capsys)
    assert (config.out / "tetrominoes.png").is_file()
    assert "qc: kept" in run_and_read(config, capsys)
    page = (config.out / "paper.html").read_text()
    assert page.count("<img") == 1
    assert page.count("data:image/svg+xml") == 4  # light and dark, wide and narrow
    # Of an earlier version there is the PNG file alone.
    (config.out / ".tetrominoes.drawing").unlink()
    assert "qc: kept" in run_and_read(config, capsys)
    assert "data:image/png" in (config.out / "paper.html").read_text()


def test_other_features_or_seeds_are_another_row(config, capsys):
    paper(config)
    write_pair(config.features, ("ants", "bees"), seed=5)
    assert "kept" not in run_and_read(config, capsys)
    before = (config.out / "paper.md").read_text()
    said = run_and_read(replace(config, seeds=3), capsys)
    assert f"the table in {config.out} is of seeds 42 to 43: kept as paper-42-to-43.html\n" in said
    assert (config.out / "paper-42-to-43.md").read_text() == before
    assert "cq: kept, done before" in run_and_read(config, capsys)  # and these seeds go on from their own table
    assert clean(config.out.parent) == []


def run_and_read(config, capsys):
    capsys.readouterr()
    paper(config)
    return capsys.readouterr().out


def test_a_row_is_added_to_those_that_are_done(config, capsys):
    paper(replace(config, rows=("cq",)))
    table = paper(replace(config, rows=("cc",)))
    assert [row.name for row in table.rows] == ["cc", "cq"]


def test_ctrl_c_keeps_the_rows_that_are_done(config, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(plane, "fit", interrupted)
    code = run_command(lambda: paper(replace(config, rows=("cc", "spirals", "qc"))) and None)
    assert code == 130
    assert "the same command goes on" in capsys.readouterr().err
    record = json.loads((config.out / "paper.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["cc"]
    assert not list(config.out.glob(".*.part"))


def test_rows_without_data_are_skipped_with_the_reason_in_the_table(config, monkeypatch, capsys):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    table = paper(replace(config, features=config.out / "none.h5", rows=("cc", "cats-dogs")))
    assert [row.status for row in table.rows] == ["skipped", "skipped"]
    text = (config.out / "paper.md").read_text()
    assert "cc skipped: there is no feature file" in text
    assert "cats-dogs skipped: the data set cifar10 could not be downloaded" in text
    assert "skipped, for the reasons above: cc, cats-dogs" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((config.out / "paper.csv").read_text())))
    assert [row["reason"] != "" for row in rows] == [True, True]


def test_a_file_that_is_no_table_is_refused(config):
    config.out.mkdir()
    (config.out / "paper.json").write_text("{}")
    with pytest.raises(InputError, match=r"paper\.json is no table of this program"):
        paper(config)
    (config.out / "paper.json").write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="has format version 99, this program reads version 1"):
        paper(config)


def test_a_table_of_the_first_version_is_gone_on_with(config):
    """Rows of an earlier version have no keys for what did not concern them."""
    table = to_record(paper(replace(config, rows=("cq",))))
    for name in ("reason", "curves", "pictures"):
        del table["rows"][0][name]
    table["rows"].append({"name": "qc", "system": "QC", "words": "", "published": 0.8, "published_time": "1 s"})
    table["rows"][1] |= {"status": "skipped", "reason": "no data"}
    (config.out / "paper.json").write_text(json.dumps(table))
    rows = paper(replace(config, rows=("cq",))).rows
    assert [(row.name, row.status) for row in rows] == [("cq", "done"), ("qc", "skipped")]


def test_every_row_names_a_function():
    assert all(callable(resolve_name(row.prepare.name)) for row in ROWS)


def test_mistakes_are_told_all_at_once():
    with pytest.raises(ValueError, match="3 mistakes") as told:
        PaperConfig(seeds=0, seed=-1, rows=("cc", "cifar"))
    for mistake in ("--seeds is 0; it must be 1 or more", "--seed is -1;", "--rows has 'cifar'; choose one of cc, cq,"):
        assert mistake in str(told.value)


def test_help_teaches_and_comes_without_torch():
    code = (
        "import sys; from pipeline.experiments.paper.__main__ import main\n"
        "try: main()\nfinally: assert 'torch' not in sys.modules"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert finished.returncode == 0, finished.stderr
    for word in ("--rows", "--cifar", "paper.md", "arXiv:1912.08278"):
        assert word in finished.stdout
