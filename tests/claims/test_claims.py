"""Published claims put to the test: what is asked, what is found, and what is kept."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import names_in, write_feature_file

from features.util.errors import InputError
from pipeline.experiments.claims import evidence
from pipeline.experiments.claims.claim import read_claims
from pipeline.experiments.claims.claims import claims
from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.experiments.claims.evidence import gather
from pipeline.experiments.compare import comparison

MINE = """
[[claim]]
name = "mine"
statement = "A quantum head needs few rows."
source = "nobody"
says = "much better"
effect = 40.0
data = ["features", "sklearn:iris", "vit"]
head = "quantum"
reference = "linear"
test = "few"
sizes = [4, 8]
settings = { epochs = 2, lr = 0.003, decay_steps = 20 }

[[claim]]
name = "kernel"
statement = "A kernel of fidelities is better."
source = "nobody"
says = ""
data = ["features"]
head = "fidelity-svm"
reference = "logistic"
test = "folds"
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    return ClaimsConfig(
        features=write_feature_file(tmp_path / "hard.h5", separation=0.04),
        file=tmp_path / "mine.toml",
        claims=("mine", "kernel"),
        out=tmp_path / "claims",
        seeds=2,
        folds=3,
        simulations=100,
        workers=1,
    )


def test_every_published_claim_names_its_source_and_can_be_tested():
    found = {claim.name: claim for claim in read_claims(ClaimsConfig())}
    assert len(found) >= 6
    for claim in found.values():
        assert claim.source
        assert claim.statement.endswith(".")
        assert claim.data
    assert found["vit-kernel"].effect == 8.02


def test_verdicts_come_with_all_that_they_rest_on(config, capsys):
    verdicts = claims(config)
    assert [(each.claim.name, each.data) for each in verdicts] == [
        ("mine", "synthetic"),
        ("mine", "sklearn:iris"),
        ("mine", "vit"),
        ("kernel", "synthetic"),
    ]
    assert verdicts[2].outcome == "skipped"
    assert "--vit FILE" in verdicts[2].reason
    for each in (*verdicts[:2], verdicts[3]):
        assert each.outcome in ("supported", "contradicted", "not shown")
        assert each.head - each.reference == pytest.approx(each.difference.mean)
        assert 0 <= each.false_positives <= 0.12
    assert verdicts[0].difference.count == 6
    assert verdicts[0].n == "36 images"
    assert names_in(config.out) == ["blocks", "claims.html", "claims.json", "claims.md", "claims.png", "sets"]
    record = json.loads((config.out / "claims.json").read_text())
    assert [each["outcome"] for each in record["verdicts"]] == [each.outcome for each in verdicts]
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"{config.out / 'claims.html'}: ")
    assert "| mine " in said
    assert "skipped: no features of a vision transformer are named: --vit FILE" in said


def test_a_claim_about_other_classes_is_not_tested_on_these(config):
    (verdict,) = claims(replace(config, claims=("ants-bees",)))
    assert verdict.outcome == "skipped"
    assert re.fullmatch(r"the claim is about ants and bees; .*hard\.h5 holds blue, red", verdict.reason)


def test_the_same_command_again_trains_nothing(config, monkeypatch):
    config = replace(config, claims=("kernel",))
    first = claims(config)
    monkeypatch.setattr(comparison, "run_blocks", lambda _config, todo, _pool: iter([]) if not todo else 1 / 0)
    assert claims(config) == first


def test_a_size_is_trained_for_as_many_steps_as_all_where_the_schedule_counts_steps(config):
    [claim, _] = read_claims(config)
    gather(config, claim, "features")
    epochs = {}
    for file in (config.out / "blocks").rglob("quantum*.json"):
        rows = json.loads(file.read_text())["trainings"]
        epochs[file.name.removeprefix("quantum-").removesuffix("42-43.json")] = {row["epoch"] for row in rows}
    # All are 24 rows in steps of 4, twice: 12 steps. Of 8 rows an epoch has 2 steps, of 16 rows 4. No head learns all.
    assert epochs == {"of-4-": {6}, "of-8-": {3}}


def test_where_nothing_differs_the_null_errs_in_about_5_percent_or_less(config):
    [_, claim] = read_claims(config)
    found = gather(config, claim, "features")
    assert found.false_positives(400) <= 0.07
    rng = np.random.default_rng(1)
    drawn = np.array([found.null(rng).mean() for _ in range(200)])
    assert abs(drawn.mean()) < 3 * drawn.std() / 200**0.5
    # The simulated heads are about as good as the real ones, and their differences spread about as much.
    assert found.null(rng).shape == found.differences.shape


def test_spirals_are_those_of_the_papers_table(config, monkeypatch):
    asked = []

    def trained(*arguments):
        asked.append(arguments)
        last = [0.9, 0.95] if arguments[2] == "quantum" else [0.8, 0.83]
        return None, type("Curve", (), {"last": last})

    monkeypatch.setattr(evidence, "trained", trained)
    shown = replace(config, claims=("spirals", "spirals-start"))
    for claim, start in zip(read_claims(shown), ("", ", torch's initial weights"), strict=True):
        found = gather(shown, claim, claim.data[0])
        assert found.differences == pytest.approx([0.1, 0.12])
        assert asked[-1] == ("spirals-1.52", start, "classical", (42, 43))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[claim]]\nname = 3", "holds no claims as catalogue.toml has them"),
        ("[[claim", "holds no claims as catalogue.toml has them"),
        (MINE.replace('"mine"', '"spirals"'), "holds a claim spirals, a name that another has"),
        (MINE.replace("sizes = [4, 8]", ""), "claim mine is of the test `few` and names no sizes"),
    ],
)
def test_a_file_of_claims_that_can_not_be_used_is_refused_with_the_reason(config, text, words):
    config.file.write_text(text)
    with pytest.raises(InputError, match=words):
        claims(config)
    assert names_in(config.out) == []


def test_a_claim_that_is_not_there_is_refused(config):
    with pytest.raises(InputError, match=r"--claims has 'spiral' .did you mean spirals.*choose of"):
        read_claims(replace(config, claims=("spiral",)))
    with pytest.raises(InputError, match="can't be read"):
        read_claims(replace(config, file=Path("nowhere.toml")))
