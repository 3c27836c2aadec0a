import json
import os
import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from features.cache.records import Skipped
from features.config import ExtractConfig
from features.extract import make_features
from features.sources.catalogue import Selection
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.sources import extraction
from pipeline.recorded import report_stands
from pipeline.report.commands import command, commands
from pipeline.report.page import write_report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run


@dataclass(frozen=True)
class Config:
    name: str = "plain"
    many: tuple[float, ...] = ()
    on: bool = False
    maybe: int | None = None
    a_number: float = 4e-4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"name": "plain", "maybe": None}, ""),
        ({"name": "it's a $5 ant"}, """ --name 'it'"'"'s a $5 ant'"""),
        ({"name": "--off"}, " --name=--off"),
        ({"on": True, "many": (0.1, 2.0)}, " --many 0.1 2.0 --on"),
        ({"maybe": 0, "a_number": 1e-3}, " --maybe 0 --a-number 0.001"),
    ],
)
def test_a_flag_for_each_value_that_is_not_the_default(given, expected):
    assert command("some thing", Config(**given)) == f"python -m some thing{expected}"


@pytest.fixture
def made(picture_folder_once, random_weights, tmp_path):
    """A run whose pictures and weights are named relative to a working folder, in a place that a shell must quote."""
    place = tmp_path / "it's here"
    place.mkdir()
    (place / "pictures").symlink_to(picture_folder_once)
    (place / "weights.pth").symlink_to(random_weights)
    made = make_features(
        ExtractConfig(
            data=os.path.relpath(place / "pictures"),
            weights=str(place / "weights.pth"),
            out=place / "out/features.h5",
            limit=3,
            seed=5,
            views=2,
            note="mine; all of them",
        )
    )
    train(TrainConfig(features=made.path, out=place / "out/run", epochs=2, qubits=3, depth=2, lr=1e-3, views=2, seed=7))
    return evaluate(EvalConfig(run=place / "out/run", batch=3))


@pytest.mark.slow
def test_the_printed_commands_end_in_the_same_weights_bit_for_bit(made, warm_python, tmp_path):
    write_report(made)
    record = json.loads((made.run.path / "report.json").read_text())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {
        "PATH": f"{warm_python.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    for line in record["commands"]:
        finished = subprocess.run(
            ["bash", "-c", line], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, f"{line}\n{finished.stderr}"
    again = load_run(elsewhere / "again/run")
    for which in ("last", "best"):
        for name, tensor in made.run.weights[which].items():
            assert torch.equal(again.weights[which][name], tensor)
    repeated = json.loads((elsewhere / "again/run/report.json").read_text())
    assert repeated["head_sha256"] == record["head_sha256"]
    assert repeated["epochs"] == record["epochs"]
    assert repeated["calibration"] == record["calibration"]


def test_only_what_differs_from_the_defaults_is_printed(made):
    first, second, third = commands(made)
    assert second == (
        "python -m pipeline train --features again/features.h5 --out again/run --qubits 3 --depth 2 --seed 7 "
        "--epochs 2 --lr 0.001 --views 2"
    )
    assert third == "python -m pipeline eval --run again/run --batch 3"
    words = shlex.split(first)
    assert words[words.index("--data") + 1].endswith("it's here/pictures")
    assert Path(words[words.index("--data") + 1]).is_absolute()
    assert words[words.index("--note") + 1] == "mine; all of them"
    assert "--split" not in words


def test_what_evaluation_was_told_is_told_again(made):
    moved = replace(
        made, config=replace(made.config, data="hymenoptera", weights="here/w.pth", accept_other_weights=True)
    )
    assert commands(moved)[2] == (
        f"python -m pipeline eval --run again/run --weights {Path.cwd()}/here/w.pth --accept-other-weights --batch 3 "
        "--data hymenoptera"
    )


def test_a_report_with_the_earlier_name_of_a_flag_stands(tmp_path):
    page = tmp_path / "report.html"
    page.touch()
    made = {"source": "images", "commands": ["", "", "python -m pipeline eval --run again/run --other-weights"]}
    page.with_suffix(".json").write_text(json.dumps(made))
    asked = EvalConfig(run=tmp_path, accept_other_weights=True)
    assert report_stands(asked, asked=True, from_images=True)
    assert not report_stands(replace(asked, accept_other_weights=False), asked=True, from_images=True)


def test_names_stay_names_and_choices_are_given_again(made):
    recorded = {
        "data_location": "cifar10",
        "weights_location": "IMAGENET1K_V1",
        "selection": Selection(classes=("cat", "dog"), split=0.2, seed=3),
        "views": None,
        "skipped": (Skipped("a.png", "empty"),),
        "runtime": None,
    }
    told = extraction(replace(made.run.features.provenance, **recorded), Path("out/features.h5"))
    assert (told.data, told.weights, told.classes) == ("cifar10", "IMAGENET1K_V1", "cat,dog")
    assert (told.split, told.seed, told.skip_bad, told.runtime) == (0.2, 3, True, "auto")


def test_the_packaged_features_are_asked_for_as_such(tmp_path):
    make_features(ExtractConfig(out=tmp_path / "features.h5", offline=True))
    run = train(TrainConfig(features=tmp_path / "features.h5", out=tmp_path / "run", epochs=1))
    assert extraction(run.features.provenance, tmp_path / "features.h5") == ExtractConfig(offline=True)
    first = commands(evaluate(EvalConfig(run=tmp_path / "run")))[0]
    assert first == "python -m features --out again/features.h5 --offline"
