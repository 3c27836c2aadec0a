"""The comparison as a whole: what it writes, and going on after a stop."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import small_comparison
from conftest import names_in

from features.cache.store import read_features
from features.cache.writer import join
from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.experiments.compare import blocks, comparison
from pipeline.experiments.compare.comparison import compare
from pipeline.experiments.compare.table import COLUMNS
from pipeline.experiments.statistics import holm
from pipeline.util.records import to_record

FILES = {"compare.html", "compare.md", "compare.png", "compare.json", "compare.csv", "blocks"}


@pytest.fixture
def config(tmp_path):
    return small_comparison(tmp_path)


def test_it_leaves_exactly_these_files_and_says_where(config, capsys):
    comparison = compare(config)
    assert {file.name for file in config.out.iterdir()} == FILES
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{config.out / 'compare.html'}: ")
    assert json.loads((config.out / "compare.json").read_text()) == json.loads(json.dumps(to_record(comparison)))
    rows = list(csv.DictReader((config.out / "compare.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 2 * (3 + 1)
    text = (config.out / "compare.md").read_text()
    assert comparison.conclusion in text
    assert all(f"| {head} " in text for head in config.heads)


def test_its_figures_are_those_of_its_trainings(config):
    comparison = compare(config)
    rows = list(csv.DictReader((config.out / "compare.csv").read_text().splitlines()))
    of_head = {
        head: [float(row["accuracy"]) for row in rows if row["head"] == head and row["design"] == "k-fold"]
        for head in config.heads
    }
    found = comparison.first.figures["k-fold"]
    for head, accuracies in of_head.items():
        assert found[head].value.mean == pytest.approx(np.mean(accuracies))
        assert found[head].best_on_test >= found[head].value.mean
    differences = np.subtract(of_head["quantum"], of_head["classical"])
    assert found["quantum"].difference.mean == pytest.approx(differences.mean())
    # Every third image is judged, the others are learned from: 1/6 + 1/2 of the variance.
    assert found["quantum"].difference.standard_error == pytest.approx(differences.std(ddof=1) * (1 / 6 + 1 / 2) ** 0.5)
    assert found["classical"].difference is None


def test_the_same_command_again_trains_nothing_and_another_lr_all(config, monkeypatch, capsys):
    first = compare(config)
    monkeypatch.setattr(comparison, "run_blocks", lambda _config, todo, _pool: iter([]) if not todo else 1 / 0)
    capsys.readouterr()
    again = compare(config)
    assert "3 of 3 blocks are done already" in capsys.readouterr().out
    assert again.first.figures == first.first.figures
    with pytest.raises(ZeroDivisionError):
        compare(replace(config, lr=0.004))


def test_blocks_that_an_earlier_version_made_of_the_same_rows_count(config, capsys):
    compare(config)
    features = read_features(config.features)
    join(config.features, [config.features], features.provenance, ["e" * 64])
    [folder] = (config.out / "blocks").iterdir()
    today, earlier = (blocks.key(config, content_sha256) for content_sha256 in (features.content_sha256, "e" * 64))
    for file in folder.iterdir():
        file.write_text(file.read_text().replace(today, earlier))
    folder.rename(folder.with_name(earlier[:12]))
    capsys.readouterr()
    compare(config)
    assert "3 of 3 blocks are done already" in capsys.readouterr().out


def test_stopped_after_a_block_it_goes_on_to_the_same_figures(config, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "SEEDS_IN_BLOCK", 1)
    undisturbed = compare(replace(config, out=tmp_path / "undisturbed"))
    whole, done = comparison.run_blocks, []

    def interrupted(*arguments):
        for block, record in whole(*arguments):
            done.append(block)
            yield block, record
            raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "run_blocks", interrupted)
    for kept in (1, 2):
        with pytest.raises(KeyboardInterrupt, match=f"{kept} of 6 blocks are kept"):
            compare(config)
    assert {file.name for file in config.out.iterdir()} == {"blocks"}
    monkeypatch.setattr(comparison, "run_blocks", whole)
    resumed = compare(config)
    assert len(set(done)) == 2
    assert resumed.first.figures == undisturbed.first.figures


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"fold": 1', '"fold": 2', 1),
        lambda text: text.replace('"head": "quantum"', '"head": "linear"'),
    ],
)
def test_a_block_that_is_not_as_it_was_written_is_made_again(config, damage):
    first = compare(config)
    (file,) = (config.out / "blocks").rglob("quantum-*.json")
    before = json.loads(file.read_text())
    file.write_text(damage(file.read_text()))
    assert compare(config).first.figures == first.first.figures
    assert json.loads(file.read_text())["trainings"] == before["trainings"]


def test_other_features_are_compared_anew(config, make_feature_file):
    first = compare(config)
    make_feature_file(config.features, seed=5, separation=0.04)
    assert compare(config).first.figures != first.first.figures
    assert len(list((config.out / "blocks").iterdir())) == 2


def test_heads_that_diverge_end_with_advice_and_no_tables(config):
    with pytest.raises(InputError, match=r"training stopped: .* Try a smaller --lr than 1e\+38"):
        compare(replace(config, lr=1e38, heads=("quantum", "classical")))
    assert {file.name for file in config.out.iterdir()} == {"blocks"}


def test_a_circuit_too_large_for_memory_is_refused(config):
    with pytest.raises(InputError, match=r"can't be trained side by side: --qubits is 40"):
        compare(replace(config, qubits=40))


def test_no_interval_leaves_what_an_accuracy_can_be_and_few_seeds_are_told_as_too_few(config, capsys):
    # With separable features nearly every accuracy is 1, with an interval around it.
    comparison = compare(replace(config, folds=2, heads=("quantum", "classical", "linear"), lr=0.01))
    rows = [row for design in comparison.first.figures.values() for row in design.values()]
    assert all(row.value.low is None or 0 <= row.value.low <= row.value.high <= 1 for row in rows)
    found = [row.difference for row in rows if row.difference is not None and row.difference.low is not None]
    assert all(-1 <= each.low <= each.high <= 1 for each in found)
    assert "**2 seeds are too few for intervals over seeds" in capsys.readouterr().out


def test_one_seed_gives_figures_without_intervals_on_the_published_split(config):
    comparison = compare(replace(config, seeds=1))
    assert comparison.first.figures["published"]["quantum"].value.low is None
    assert comparison.first.figures["k-fold"]["quantum"].value.count == 3


def test_data_sets_sizes_and_metric_come_in_one_table_and_go_on_where_they_stopped(config, monkeypatch, capsys):
    alone = compare(config)
    wide = replace(
        config,
        sets=(Path("sklearn:iris"),),
        train_sizes=("4", "all"),
        metric="f1_macro",
        heads=("quantum", "classical"),
    )
    capsys.readouterr()
    found = compare(wide)
    # What the smaller comparison trained is not trained again.
    assert "; 2 of 8 blocks are done already" in capsys.readouterr().out
    assert names_in(config.out) == sorted(FILES | {"curves.png", "sets"})
    assert list(found.sets) == ["synthetic", "iris"]
    assert (found.sets["iris"].images, found.sets["iris"].n_classes) == (150, 3)
    assert list(found.first.figures) == ["4 a class", "k-fold", "published", "over sizes"]
    judged = [each.figures[design]["quantum"] for each in found.sets.values() for design in ("4 a class", "k-fold")]
    p_values, raised = [row.difference.p for row in judged], [row.p_holm for row in judged]
    assert raised == pytest.approx(holm(p_values))
    rows = list(csv.DictReader((config.out / "compare.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2 * (2 * 3 + 1)
    of_head = [float(row["f1_macro"]) for row in rows if (row["set"], row["head"]) == ("iris", "quantum")]
    assert len({row["size"] for row in rows}) == 2
    assert 0 <= min(of_head) <= max(of_head) <= 1
    assert "macro F1 of" in found.conclusion
    assert "With 4 images a class to learn from the difference is" in found.conclusion
    assert "On the 150 rows of iris the difference is" in found.conclusion
    monkeypatch.setattr(comparison, "run_blocks", lambda _config, todo, _pool: iter([]) if not todo else 1 / 0)
    assert compare(wide).conclusion == found.conclusion
    assert compare(config).first.figures == alone.first.figures
    assert "curves.png" not in names_in(config.out)


def test_parameters_that_never_get_a_gradient_do_not_count(config):
    found = compare(replace(config, heads=("quantum", "classical"), circuits=("strongly-entangling",))).first.heads
    ends = found["quantum"].parameters - 24
    assert (found["quantum"].idle, found["strongly-entangling"].idle) == (0, 4)
    assert found["strongly-entangling"].parameters == ends + 72 - 4


def test_parts_of_circuits_come_with_their_cost(config, capsys):
    found = compare(replace(config, ablations=True))
    assert list(found.first.parts) == ["quantum"]
    judged = found.first.parts["quantum"]
    rows = [json.loads(file.read_text()) for file in (config.out / "blocks").rglob("quantum-*.json")]
    folds = [row for each in rows for row in each["trainings"] if row["fold"] is not None]
    for part, figures in judged.items():
        costs = [row["accuracy"] - row["ablations"][part] for row in folds]
        assert figures.cost.mean == pytest.approx(np.mean(costs))
        assert figures.cost.standard_error == pytest.approx(np.std(costs, ddof=1) * (1 / 6 + 1 / 2) ** 0.5)
    text = capsys.readouterr().out
    assert "| quantum | gates on several wires left out " in text
    with pytest.raises(FlagError, match="--ablations takes heads after their last epoch"):
        replace(config, ablations=True, early_stopping=True)


def test_a_set_named_twice_and_one_that_is_not_there_are_refused(config):
    with pytest.raises(InputError, match="holds the same rows as one before it"):
        compare(replace(config, sets=(config.features,)))
    with pytest.raises(InputError, match="did you mean digits"):
        compare(replace(config, sets=(Path("sklearn:digit"),)))
    for sizes, words in ((("none",), "has 'none'; a size is `all`, or 2 or more"), (("5", "5"), "name each once")):
        with pytest.raises(FlagError, match=words):
            replace(config, train_sizes=sizes)
    with pytest.raises(FlagError, match="has '4'; a size is `all`, or 5 or more"):
        replace(config, train_sizes=("4",), early_stopping=True)
