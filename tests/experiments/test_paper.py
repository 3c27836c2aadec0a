"""The paper's table: its rows, its statistics, and the command that keeps what is done."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision
from conftest import names_in, synthetic_provenance
from scipy import stats

from features.cache.store import read_features
from features.cache.writer import FeatureWriter
from features.util.errors import InputError, run_command
from pipeline.experiments.paper import images, plane, transfer
from pipeline.experiments.paper.__main__ import NAMES, PaperConfig, paper
from pipeline.experiments.paper.images import train_heads
from pipeline.experiments.paper.row import Context, Entry, Outcome, summary
from pipeline.experiments.paper.rows import ROWS
from pipeline.experiments.paper.table import as_csv, markdown
from pipeline.training.config import TrainConfig
from pipeline.training.multi_seed import train_many

ROOT = Path(__file__).parents[2]


def entry(last, **fields):
    return Entry(**{"task": "task", "model": "model", "parameters": 3, "last": last, "seconds": 1.0} | fields)


def write_pair(path, classes):
    """A cache of two separable classes by these names, as stage 1 would make it of CIFAR-10."""
    rng = np.random.default_rng(0)
    labels = {"train": (0, 1) * 20, "val": (0, 1) * 10}
    paths = {split: tuple(f"{split}/{row}.png" for row in range(len(rows))) for split, rows in labels.items()}
    centre = rng.normal(0, 1, 512)
    with FeatureWriter(path, paths, labels, 512) as writer:
        for split, rows in labels.items():
            signs = 2 * np.array(rows)[:, None] - 1
            writer.write(split, 0, (signs * centre + rng.normal(0, 0.5, (len(rows), 512))).astype(np.float32))
        writer.finish(replace(synthetic_provenance(), classes=classes))


@pytest.fixture
def context(feature_file, tmp_path):
    out = tmp_path / "paper"
    out.mkdir()
    return Context(out=out, features=feature_file, cifar="cifar10", weights="IMAGENET1K_V1", seeds=(1, 2))


@pytest.fixture
def config(feature_file, tmp_path):
    return PaperConfig(features=feature_file, out=tmp_path / "paper", seeds=2, rows=("cc", "cq"))


def test_the_interval_is_students():
    values = [0.8, 0.85, 0.9, 0.95]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert summary(values) == {"mean": pytest.approx(0.875), "interval95": pytest.approx([low, high])}
    assert summary([0.9]) == {"mean": 0.9, "interval95": None}


def test_differences_are_paired_and_within_a_task():
    entries = [
        entry([0.9, 0.7], model="first"),
        entry([0.8, 0.5], model="second"),
        entry([0.6, 0.6], task="other"),
    ]
    first, second, other = Outcome(entries=entries).record()["entries"]
    assert first["first_minus_this"] is None
    assert second["first_minus_this"]["mean"] == pytest.approx(0.15)
    low, high = stats.t.interval(0.95, 1, loc=0.15, scale=stats.sem([0.1, 0.2]))
    assert second["first_minus_this"]["interval95"] == pytest.approx([low, high])
    assert other["first_minus_this"] is None


def test_an_interval_of_accuracies_ends_at_one():
    record = Outcome(entries=[entry([1.0, 0.9])]).record()
    assert record["entries"][0]["last"]["interval95"][1] == 1.0


def test_heads_of_a_row_are_those_that_stage_2_trains(feature_file, tmp_path):
    config = TrainConfig(features=feature_file, out=tmp_path / "run", head="linear", epochs=3, batch=5, seed=7, seeds=2)
    runs = train_many(config)
    ours = train_heads(config, [read_features(feature_file)], [7, 8], task="t", model="m", published=None)
    assert ours.last == pytest.approx([run.history[-1]["val_accuracy"] for run in runs])
    assert ours.best == pytest.approx([max(row["val_accuracy"] for row in run.history) for run in runs])
    assert ours.parameters == runs[0].parameters


def test_each_head_may_have_a_cache_of_its_own(make_feature_file, tmp_path):
    caches = [read_features(make_feature_file(tmp_path / f"{seed}.h5", seed)) for seed in (1, 2)]
    config = TrainConfig(epochs=2, batch=6, lr=0.002)
    both = train_heads(config, caches, [7, 8], task="t", model="m", published=None)
    alone = [
        train_heads(config, [cache], [seed], task="t", model="m", published=None).last[0]
        for cache, seed in zip(caches, (7, 8), strict=True)
    ]
    assert both.last == pytest.approx(alone)


@pytest.mark.parametrize(
    ("name", "classes", "prepare", "setting"),
    [
        ("cats-dogs", ("cat", "dog"), images.prepare_cats_dogs, {"depth": 5, "lr": 1e-3, "batch": 8, "epochs": 3}),
        (
            "planes-cars",
            ("airplane", "automobile"),
            images.prepare_planes_cars,
            {"depth": 4, "lr": 7e-4, "batch": 8, "epochs": 3},
        ),
    ],
)
def test_cifar_rows_take_the_papers_settings_and_a_cache_that_is_there(name, classes, prepare, setting, context):
    write_pair(context.out / f"{'-'.join(classes)}.h5", classes)
    job = prepare(context)
    model, used = job.settings["heads"][0]
    assert model == "dressed quantum head"
    assert used["head"] == "quantum"
    assert {key: used[key] for key in setting} == setting
    entries = job.run().entries
    assert [len(one.last) for one in entries] == [2, 2]
    assert entries[0].published == next(row.published for row in ROWS if row.name == name)
    assert entries[0].parameters == 512 * 4 + 4 + setting["depth"] * 4 + 10


def test_a_cache_of_other_classes_is_refused(context):
    write_pair(context.out / "cat-dog.h5", ("cat", "frog"))
    with pytest.raises(InputError, match=r"cat-dog\.h5 holds cat, frog, not cat, dog; remove it"):
        images.prepare_cats_dogs(context)


def test_stage_1_makes_the_cifar_cache(context, picture_folder, random_weights):
    """From a folder in the place of the download: stage 1 itself, with few pictures."""
    for split in ("train", "val"):
        (picture_folder / split / "blue").rename(picture_folder / split / "cat")
        (picture_folder / split / "red").rename(picture_folder / split / "dog")
        shutil.copytree(picture_folder / split / "dog", picture_folder / split / "frog")
    given = replace(context, cifar=str(picture_folder), weights=str(random_weights))
    assert images.prepare_cats_dogs(given).run().entries
    made = read_features(context.out / "cat-dog.h5")
    assert (made.train.features.shape, made.val.features.shape) == ((8, 512), (5, 512))
    assert made.provenance.selection == {"classes": ["cat", "dog"], "limit": 5000, "seed": 0}


def test_the_dressed_circuit_learns_the_spirals_and_pretraining_helps(context):
    seeds = (42, 43, 44)
    entries = plane.prepare_spirals(replace(context, seeds=seeds)).run().entries
    accuracies = {(one.task, one.model): np.mean(one.last) for one in entries}
    assert len(accuracies) == 10
    assert accuracies["two spirals, 1.52 turns", "dressed circuit"] > 0.85
    assert (
        accuracies["two spirals, 1.52 turns", "dressed circuit"]
        > accuracies["two spirals, 1.52 turns", "dressed circuit without CNOTs"]
    )
    assert [one.parameters for one in entries[:3]] == [52, 57, 52]
    outcome = transfer.prepare_qq(replace(context, seeds=seeds)).run()
    pretrained, alone = outcome.entries[:2]
    assert np.mean(pretrained.last) > np.mean(alone.last) + 0.05
    assert pretrained.parameters == alone.parameters == 8 + 35
    assert names_in(context.out / "states") == [f"pretrained-{seed}.h5" for seed in seeds]
    for name in ("spirals.png", "transfer.png"):
        assert (context.out / name).read_bytes().startswith(b"\x89PNG")
    assert all(curve["steps"][-1] == 1000 for curve in outcome.curves.values())


def test_the_table_is_written_and_a_row_done_with_the_same_settings_is_kept(config, capsys, monkeypatch):
    table = paper(config)
    assert names_in(config.out) == ["paper.csv", "paper.json", "paper.md"]
    assert [row["name"] for row in table["rows"]] == ["cc", "cq"]
    assert json.loads((config.out / "paper.json").read_text()) == table
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{config.out / 'paper.md'}: the table")
    # 0.9673, the paper's, stands beside ours.
    assert "| 0.9673 " in (config.out / "paper.md").read_text()

    monkeypatch.setattr(images, "train_heads", None)
    again = paper(config)
    assert "cc: kept, done before" in capsys.readouterr().out
    assert again["rows"] == table["rows"]


def test_a_row_whose_picture_is_gone_is_run_again(config, capsys):
    config = replace(config, rows=("qc",))
    paper(config)
    (config.out / "tetrominoes.png").unlink()
    assert "kept" not in run_and_read(config, capsys)
    assert (config.out / "tetrominoes.png").is_file()
    assert "qc: kept" in run_and_read(config, capsys)


def test_other_features_or_seeds_are_another_row(config, make_feature_file, capsys):
    paper(config)
    make_feature_file(config.features, seed=5)
    assert "kept" not in run_and_read(config, capsys)
    assert "is of other seeds and is made anew" in run_and_read(replace(config, seeds=3), capsys)


def run_and_read(config, capsys):
    capsys.readouterr()
    paper(config)
    return capsys.readouterr().out


def test_a_row_is_added_to_those_that_are_done(config, capsys):
    paper(replace(config, rows=("cq",)))
    table = paper(replace(config, rows=("cc",)))
    assert [row["name"] for row in table["rows"]] == ["cc", "cq"]


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
    assert [row["status"] for row in table["rows"]] == ["skipped", "skipped"]
    text = (config.out / "paper.md").read_text()
    assert "cc skipped: there is no feature file" in text
    assert "cats-dogs skipped: the data set cifar10 could not be downloaded" in text
    assert "skipped, for the reasons above: cc, cats-dogs" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((config.out / "paper.csv").read_text())))
    assert [row["reason"] != "" for row in rows] == [True, True]


def test_markdown_and_csv_hold_every_entry():
    outcome = Outcome(
        entries=[entry([0.9, 0.8], published=0.97, best=[1.0, 0.9]), entry([0.7, 0.7], model="control")],
        notes=["a note"],
    )
    row = {"name": "x", "system": "CQ", "words": "w", "published": 0.97, "published_time": "1 h", "status": "done"}
    table = {"seeds": [1, 2], "rows": [row | outcome.record()]}
    lines = markdown(table).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert "0.850 (" in lines[2]
    assert "0.9700" in lines[2]
    assert "+0.150" in lines[3]
    assert "- a note" in lines
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [float(row["last_mean"]) for row in rows] == pytest.approx([0.85, 0.7])
    assert rows[0]["published"] == "0.97"
    assert rows[1]["last_low"] == ""


def test_a_file_that_is_no_table_is_refused(config):
    config.out.mkdir()
    (config.out / "paper.json").write_text("{}")
    with pytest.raises(InputError, match=r"paper\.json is no table of this program"):
        paper(config)
    (config.out / "paper.json").write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="has format version 99, this program reads version 1"):
        paper(config)


def test_names_are_those_of_the_rows():
    assert tuple(row.name for row in ROWS) == NAMES


def test_mistakes_are_told_all_at_once():
    with pytest.raises(ValueError, match=r"--seeds is 0; .*--seed is -1; .*--rows has cifar; choose of cc, cq, .*qq"):
        PaperConfig(seeds=0, seed=-1, rows=("cc", "cifar"))


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
