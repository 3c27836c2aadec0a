"""Make's stages: no command loses, mislabels or quietly replaces what stands in OUT."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import names_in, write_feature_file

from features.cache.store import read_features
from features.cache.writer import join
from features.sources.check import file_digests, images_sha256_before_format_3
from features.sources.images import open_images
from features.util.errors import run_command
from pipeline.stages import Stages
from pipeline.training.run import load_run

EARLIER = Path(__file__).parents[1] / "data/earlier_run"
Make = Callable[..., tuple[int, str, str]]


@pytest.fixture
def make(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Make:
    """Make goals in this process; exit code, standard output, standard error."""

    def make(goals: str, **variables: object) -> tuple[int, str, str]:
        given = {"OUT": str(tmp_path / "out")} | {name: str(value) for name, value in variables.items()}
        code = run_command(lambda: Stages(goals.split(), given).make())
        return code, *capfd.readouterr()

    return make


@pytest.fixture
def run(make: Make, picture_features: Path, tmp_path: Path) -> Path:
    """The run of a small head on the features of the generated pictures."""
    (tmp_path / "out").mkdir()
    shutil.copy(picture_features, tmp_path / "out/features.h5")
    assert make("train", ARGS="--qubits 2 --depth 1 --epochs 2 --batch 8")[0] == 0
    return tmp_path / "out/run"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_used_as_it_stands(make: Make, run: Path, picture_folder_once: Path) -> None:
    picture = next(picture_folder_once.rglob("*.png"))
    assert make("eval", TRAIN_ARGS="--qubits 2")[0] == 0
    before = contents(run)
    assert make("predict", IMAGES=picture)[0] == 0
    assert make("eval", DATA=picture_folder_once)[0] == 0
    assert contents(run) == before
    code, out, _ = make("eval", ARGS="--shots 10")
    assert (code, "default.qubit" in out) == (0, True)
    assert json.loads((run / "run.json").read_text())["config"]["qubits"] == 2
    again = contents(run)
    assert again["head.safetensors"] == before["head.safetensors"]
    for ask in ("--shots 10", ""):  # the report that stands has them
        assert make("eval", ARGS=ask)[1].endswith("report.html is up to date\n")
    assert contents(run) == again


def test_heads_of_many_seeds_stay_together(make: Make, run: Path) -> None:
    assert make("train", ARGS="--seeds 3 --force")[0] == 0
    before = names_in(run)
    assert {"heads.json", "seed-43", "seed-44"} <= set(before)
    assert make("eval")[0] == 0
    assert set(before) <= set(names_in(run))


def test_another_head_is_refused_and_force_replaces_it(make: Make, run: Path) -> None:
    before = contents(run.parent)
    for goal, variable in (("train", "ARGS"), ("eval", "TRAIN_ARGS"), ("export", "TRAIN_ARGS")):
        code, out, err = make(goal, **{variable: "--qubits 3"})
        assert (code, out) == (2, "")
        assert "--qubits 2 there, 3 asked for. Nothing was changed" in err
        assert "OUT=" in err
        assert "--force" in err
    assert contents(run.parent) == before
    assert make("train", ARGS="--qubits 3 --force")[0] == 0
    config = load_run(run).config
    assert (config.qubits, config.depth, config.epochs) == (3, 1, 2)  # what was not given is as recorded


def test_other_inputs_are_refused(make: Make, run: Path, picture_folder: Path, tmp_path: Path) -> None:
    before, standing = contents(run.parent), load_run(run)
    for goal in ("features", "train", "eval", "predict", "export"):
        for variables in ({"DATA": "cifar10"}, {"BACKBONE": "resnet50"}, {"FEATURES_ARGS": "--limit 2"}):
            if goal == "predict":
                variables["IMAGES"] = str(picture_folder)
            code, out, err = make(goal, **variables)
            assert (code, out) == (2, "")
            assert "Nothing was changed" in err
    assert contents(run.parent) == before
    # The same pictures at another place are no others.
    assert make("eval", DATA=picture_folder)[0] == 0
    assert load_run(run).weights["last"]["q_params"].equal(standing.weights["last"]["q_params"])


def test_features_that_are_gone_or_damaged_are_made_again_of_the_recorded_pictures(make: Make, run: Path) -> None:
    features = run.parent / "features.h5"
    before = read_features(features)
    features.unlink()
    assert make("features")[0] == 0  # by the run's record
    assert read_features(features).content_sha256 == before.content_sha256
    features.write_bytes(features.read_bytes()[:-1000])
    assert "is damaged" in make("train")[2]
    assert "up to date, the requested head" in make("train", FEATURES_ARGS="--force")[1]
    features.write_bytes(features.read_bytes()[:-1000])
    shutil.rmtree(run)
    code, _, err = make("features", FEATURES_ARGS="--force")
    assert (code, "make features DATA=… FEATURES_ARGS=--force" in err) == (2, True)
    places = {"DATA": before.provenance.data_location, "WEIGHTS": before.provenance.weights_location}
    assert make("features", FEATURES_ARGS="--force", **places)[0] == 0
    assert read_features(features).content_sha256 == before.content_sha256


def test_labels_of_another_list_are_no_moved_pictures(make: Make, run: Path, picture_folder: Path) -> None:
    """Also where the fingerprint of the pictures is that of formats 1 and 2, which covers no labels."""
    for name, swap in (("same", {}), ("other", {"red": "blue", "blue": "red"})):
        rows = [(path.relative_to(picture_folder), path.parent.name) for path in sorted(picture_folder.rglob("*.png"))]
        lines = [f"{path},{swap.get(label, label)},{path.parts[0]}" for path, label in rows]
        (picture_folder / f"{name}.csv").write_text("\n".join(["path,label,split", *lines]))
    features = run.parent / "features.h5"
    made = read_features(features)
    found = open_images(str(picture_folder / "same.csv"))
    earlier = images_sha256_before_format_3(found, file_digests(found))
    join(features, [features], replace(made.provenance, images_sha256=earlier), made.known_as)
    code, _, err = make("train", DATA=picture_folder / "other.csv")
    assert (code, "DATA" in err, "Nothing was changed" in err) == (2, True, True)
    assert "up to date, the requested head" in make("train", DATA=picture_folder / "same.csv")[1]


def test_changed_pictures_set_the_old_run_aside(make: Make, random_weights: Path, picture_folder: Path) -> None:
    given = {"DATA": picture_folder, "WEIGHTS": random_weights, "TRAIN_ARGS": "--epochs 1 --qubits 2"}
    code, out, _ = make("eval", **given)
    assert code == 0
    out_folder = Path(out.splitlines()[-1].split("/run/")[0])
    head = (out_folder / "run/head.safetensors").read_bytes()
    next((picture_folder / "train").rglob("*.png")).unlink()
    assert make("eval")[0] == 0
    [aside] = out_folder.glob("run-*")
    assert (aside / "head.safetensors").read_bytes() == head
    assert load_run(out_folder / "run").config.qubits == 2


@pytest.mark.parametrize(
    ("goal", "variables", "said"),
    [
        ("eval", {"ARGS": "--qbits 6"}, "eval: there is no flag --qbits"),
        ("train", {"ARGS": "--qbits 6"}, "train: there is no flag --qbits (did you mean --qubits?)"),
        ("eval", {"ARGS": "--qubits 6"}, "eval has no flag --qubits; train has: TRAIN_ARGS='--qubits …'"),
        ("train", {"ARGS": "--qubits 30"}, "--qubits is 30"),
        ("eval", {"TRAIN_ARGS": "--epochs 0", "FEATURES_ARGS": "--limit x", "ARGS": "--shots -1"}, "3 mistakes"),
        ("compare", {"SEEDS": "some"}, "--seeds is 'some'; it must be a whole number, 1 or more"),
        ("predict", {}, "no images given"),
        ("train", {"ARGS": "--head 'quantum"}, "close the quotation"),
        ("train", {"OUT": ""}, "OUT is empty"),
    ],
)
def test_a_mistake_in_any_flag_is_said_before_anything_is_made(
    make: Make, tmp_path: Path, goal: str, variables: dict[str, str], said: str
) -> None:
    code, out, err = make(goal, OFFLINE="1", **variables)
    assert (code, out) == (2, "")
    assert said in err
    assert names_in(tmp_path) == []


def test_predictions_alone_are_printed_to_standard_output(
    make: Make, picture_folder: Path, random_weights: Path, tmp_path: Path
) -> None:
    picture = (picture_folder / "train/red/0.png").rename(tmp_path / "two words.png")
    given = {"DATA": picture_folder, "WEIGHTS": random_weights, "TRAIN_ARGS": "--epochs 1 --qubits 2", "ARGS": "--csv"}
    for images in (picture, f"'{picture}' {picture_folder}/val/r*"):
        code, out, _ = make("predict", IMAGES=images, **given)
        assert code == 0
        assert out.splitlines()[0] == "image,class,blue,red,problem"
        assert all(line.startswith(str(tmp_path)) for line in out.splitlines()[1:])
    to_file = given | {"ARGS": f"--csv --out {tmp_path / 'out.csv'}"}
    code, said, _ = make("predict", IMAGES=images, **to_file)
    assert (code, said) == (0, f"{tmp_path / 'out.csv'}: 4 pictures classified\n")
    assert (tmp_path / "out.csv").read_text() == out
    code, said, err = make("predict", IMAGES=images, **to_file)
    assert (code, said, "is there already" in err) == (2, "", True)


def test_an_offline_run_predicts_with_a_file_of_its_weights(make: Make, shared_weights: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    assert make("eval", OFFLINE="1", TRAIN_ARGS="--epochs 1 --qubits 2")[0] == 0
    code, out, err = make("predict", OFFLINE="1", IMAGES=tmp_path / "a.png")
    assert (code, out) == (2, "")
    assert "give that file with --weights (make: WEIGHTS=)" in err
    for offline in ("1", ""):
        code, out, _ = make("predict", OFFLINE=offline, IMAGES=tmp_path / "a.png", WEIGHTS=shared_weights)
        assert (code, len(out.splitlines())) == (0, 2)
    assert make("eval", WEIGHTS=shared_weights)[0] == 0


def test_a_run_of_an_earlier_version_is_used(make: Make, tmp_path: Path) -> None:
    shutil.copytree(EARLIER, tmp_path / "out")
    head = (tmp_path / "out/run/head.safetensors").read_bytes()
    code, out, _ = make("eval")
    assert (code, "report.html: the report" in out) == (0, True)
    code, _, err = make("export")
    assert (code, "backbone's weights synthetic.pth are not at" in err) == (2, True)
    assert (tmp_path / "out/run/head.safetensors").read_bytes() == head


@pytest.mark.filterwarnings("default:the circuit's file")
def test_a_run_whose_circuits_file_has_changed_is_used_as_recorded(make: Make, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = """import pennylane as qml
weight_shapes = {"w": (2,)}
def mine(inputs, w):
    qml.RY(inputs[..., 0] + w[0], 0)
    qml.RX(w[1], 0)
    return qml.expval(qml.Z(0))
"""
    file.write_text(text)
    asked = f"--circuit {file}:mine"
    assert make("train", ARGS=f"{asked} --force")[0] == 0
    head = (run / "head.safetensors").read_bytes()
    file.write_text(text + "# changed\n")
    code, _, err = make("eval")
    said = f"warning: the circuit's file {file} has changed since; the run in {run} goes on with the circuit that it"
    assert (code, err) == (0, f"{said} recorded\n")
    code, _, err = make("eval", TRAIN_ARGS=asked)
    assert (code, f"the circuit's file {file} has changed since. Nothing was changed" in err) == (2, True)
    file.unlink()
    assert make("eval", ARGS="--shots 10")[::2] == (0, "")
    assert (run / "head.safetensors").read_bytes() == head


def test_a_stopped_training_goes_on_with_its_own_flags(make: Make, tmp_path: Path, monkeypatch) -> None:
    from pipeline.training.epochs import Training

    (tmp_path / "out").mkdir()
    write_feature_file(tmp_path / "out/features.h5")
    saved = Training.save

    def stop(training: Training) -> None:
        saved(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", stop)
        code, _, err = make("train", ARGS="--qubits 2 --epochs 3")
    assert (code, "saved epochs: 1;" in err) == (130, True)
    code, out, _ = make("train")
    assert (code, "resuming after epoch 1 of 3" in out) == (0, True)
    assert load_run(tmp_path / "out/run").config.qubits == 2


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows of features of somebody else's, two classes that are far apart."""
    labels = np.arange(40) % 2
    features = np.random.default_rng(0).normal(size=(40, 3)) + 4 * labels[:, None]
    np.savez(tmp_path / "rows.npz", features=features.astype(np.float32), labels=np.array(["no", "yes"])[labels])
    return tmp_path / "rows.npz"


def test_rows_of_features_need_no_pictures(make: Make, rows: Path, tmp_path: Path) -> None:
    head = "--qubits 2 --depth 1 --epochs 8 --batch 4 --lr 0.1"
    code, out, err = make("eval", FEATURES=rows, FEATURES_ARGS="--split 0.25", TRAIN_ARGS=head)
    assert code == 0, err
    assert "imported from" in out
    report = json.loads((tmp_path / "out/run/report.json").read_text())
    assert report["epochs"]["last"]["accuracy"] > 0.8
    assert report["commands"][0].startswith(f"python -m features import {rows} --out again/features.h5 --split 0.25")
    before = contents(tmp_path / "out")
    for given in ({"FEATURES": rows}, {}):  # what is not given is as recorded
        code, out, _ = make("eval", **given)
        assert (code, "up to date" in out) == (0, True)
    assert contents(tmp_path / "out") == before

    code, out, err = make("predict", ARGS=f"--features {rows} --csv")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "image,class,no,yes,problem"
    assert sum(line.split(",")[1] == ("no", "yes")[k % 2] for k, line in enumerate(lines[1:])) > 32


def test_rows_that_are_classified_later_are_scaled_alike(make: Make, tmp_path: Path) -> None:
    flags = {"FEATURES_ARGS": "--split 0.3 --standardize", "TRAIN_ARGS": "--qubits 2 --depth 1 --epochs 4 --lr 0.02"}
    assert make("eval", FEATURES="sklearn:wine", **flags)[0] == 0
    code, out, _ = make("predict", ARGS="--features sklearn:wine --csv")
    assert code == 0
    labels = [line.split(",")[1] for line in out.splitlines()[1:]]
    truth = np.repeat(["class_0", "class_1", "class_2"], [59, 71, 48])
    assert (np.array(labels) == truth).mean() > 0.9
    assert make("eval")[1].endswith("report.html is up to date\n")


@pytest.mark.parametrize(
    ("goal", "given", "message"),
    [
        ("eval", {"DATA": "elsewhere"}, "holds rows, or a run on rows, that were imported from .*; DATA is asked for"),
        ("train", {"FEATURES": "other.npz"}, "FEATURES other.npz is asked for. Nothing was changed"),
        ("train", {"FEATURES": "rows.npz", "WEIGHTS": "w"}, "FEATURES is rows.npz, and WEIGHTS of pictures is given"),
        (
            "predict",
            {"IMAGES": "."},
            "trained on rows that were imported from .*: there is no network for pictures",
        ),
        ("export", {}, "there is no network for pictures"),
        ("predict", {"ARGS": "--features narrow.npz"}, "has 2 features a row, and the head in .* takes 3"),
    ],
)
def test_what_rows_do_not_do_is_said(make: Make, rows: Path, tmp_path: Path, goal, given, message) -> None:
    head = "--qubits 2 --depth 1 --epochs 1"
    assert make("train", FEATURES=rows, FEATURES_ARGS="--split 0.25", TRAIN_ARGS=head)[0] == 0
    np.savez(tmp_path / "narrow.npz", features=np.zeros((3, 2)))
    (tmp_path / "some.png").touch()
    before = contents(tmp_path / "out")
    with contextlib.chdir(tmp_path):
        code, _, err = make(goal, **given)
    assert code == 2
    assert re.search(message, err), err
    assert contents(tmp_path / "out") == before


def test_rows_do_not_replace_features_of_pictures(make: Make, run: Path, rows: Path, tmp_path: Path) -> None:
    before = contents(tmp_path / "out")
    code, _, err = make("train", FEATURES=rows, FEATURES_ARGS="--split 0.25")
    assert code == 2
    assert "holds features, or a run, of pictures; FEATURES" in err
    assert contents(tmp_path / "out") == before
