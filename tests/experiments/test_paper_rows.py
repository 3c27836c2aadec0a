"""The rows of the paper's table: what they train, on what, and their statistics."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import names_in
from image_features import write_pair
from scipy import stats

from features.cache.store import read_features
from features.util.errors import InputError
from pipeline.experiments.paper import images
from pipeline.experiments.paper.images import train_heads
from pipeline.experiments.paper.plane import tasks as plane
from pipeline.experiments.paper.record import RowRecord, Table, lines, summary
from pipeline.experiments.paper.row import Context, Entry
from pipeline.experiments.paper.rows import ROWS
from pipeline.experiments.paper.states import transfer
from pipeline.experiments.paper.table import as_csv, document_of
from pipeline.pages.document import as_markdown
from pipeline.training.config import TrainConfig
from pipeline.training.multi_seed import train_many


def entry(last, **fields):
    return Entry(**{"task": "task", "model": "model", "parameters": 3, "last": last, "seconds": 1.0} | fields)


def table_of(entries, seeds):
    row = RowRecord(
        name="x",
        system="CQ",
        words="w",
        published=0.97,
        published_time="1 h",
        status="done",
        entries=lines(entries),
        notes=["a note"],
    )
    return Table(created="", seeds=list(range(seeds)), versions={}, rows=[row])


@pytest.fixture
def context(feature_file, tmp_path):
    out = tmp_path / "paper"
    out.mkdir()
    return Context(out=out, features=feature_file, cifar="cifar10", weights="IMAGENET1K_V1", seeds=(1, 2))


def test_the_interval_is_students_and_ends_where_accuracies_do():
    values = [0.8, 0.85, 0.9, 0.95]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = summary(values, 0, 1)
    assert found.mean == pytest.approx(0.875)
    assert found.interval95 == pytest.approx([low, high])
    assert summary([0.9], 0, 1).interval95 is None
    assert summary([1.0, 0.9], 0, 1).interval95 == pytest.approx([0.95 - 0.63531, 1.0], abs=1e-4)


def test_differences_are_paired_and_within_a_task():
    first, second, other = lines(
        [
            entry([0.9, 0.7], model="first"),
            entry([0.8, 0.5], model="second"),
            entry([0.6, 0.6], task="other"),
        ]
    )
    assert first.first_minus_this is None
    assert second.first_minus_this.mean == pytest.approx(0.15)
    low, high = stats.t.interval(0.95, 1, loc=0.15, scale=stats.sem([0.1, 0.2]))
    assert second.first_minus_this.interval95 == pytest.approx([low, high])
    assert other.first_minus_this is None
    _, apart = lines([entry([0.9, 0.7]), entry([0.1, 0.7])])
    assert apart.first_minus_this.interval95 == [-1.0, 1.0]


def written(table):
    """The table's section of the document, without its heading."""
    return as_markdown(document_of(table, Path())).partition("published\n\n")[2]


def test_too_few_seeds_come_with_what_their_intervals_are_worth():
    entries = [entry([0.9, 0.4]), entry([0.5, 0.5], model="control")]
    text = written(table_of(entries, seeds=2))
    assert "(0.000 to 1.000)" in text
    assert text.startswith("**2 seeds are too few for intervals over seeds: these reach 12.7 standard errors to either")
    assert "give --seeds 5 or more" in text
    assert written(table_of(entries, seeds=1)).startswith("**1 seed has no spread")
    assert written(table_of(entries, seeds=5)).startswith("| system")


def test_markdown_and_csv_hold_every_entry():
    entries = [entry([0.9, 0.8], published=0.97, best=[1.0, 0.9]), entry([0.7, 0.7], model="control")]
    table = table_of(entries, seeds=20)
    text = written(table).splitlines()
    assert len({len(line) for line in text[:4]}) == 1
    assert "0.850 (" in text[2]
    assert "0.9700" in text[2]
    assert "+0.150" in text[3]
    assert "- a note" in text
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [float(row["last_mean"]) for row in rows] == pytest.approx([0.85, 0.7])
    assert rows[0]["published"] == "0.97"
    assert rows[1]["last_low"] == ""


def test_heads_of_a_row_are_those_that_stage_2_trains(feature_file, tmp_path):
    config = TrainConfig(features=feature_file, out=tmp_path / "run", head="linear", epochs=3, batch=5, seed=7, seeds=2)
    runs = train_many(config)
    ours = train_heads(config, [read_features(feature_file)], [7, 8], task="t", model="m", published=None)
    assert ours.last == pytest.approx([run.history[-1].val_accuracy for run in runs])
    assert ours.best == pytest.approx([max(row.val_accuracy for row in run.history) for run in runs])
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


def test_the_published_numbers_stand_beside_no_other_images(context):
    for prepare in (images.prepare_cc, images.prepare_cq):
        with pytest.raises(InputError, match=r"holds blue, red; the published number is for ants and bees: give"):
            prepare(context)


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
    assert made.provenance.selection.record() == {"classes": ["cat", "dog"], "limit": 5000, "seed": 0}


@pytest.mark.slow
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
    result = transfer.prepare_qq(replace(context, seeds=seeds)).run()
    pretrained, alone = result.entries[:2]
    assert np.mean(pretrained.last) > np.mean(alone.last) + 0.05
    assert pretrained.parameters == alone.parameters == 8 + 35
    assert names_in(context.out / "states") == [f"pretrained-{seed}.h5" for seed in seeds]
    for name in ("spirals.png", "transfer.png"):
        assert (context.out / name).read_bytes().startswith(b"\x89PNG")
    assert all(curve.steps[-1] == 1000 for curve in result.curves.values())
