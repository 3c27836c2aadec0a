import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from features.cache.packaged import PACKAGED
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.inference.config import PredictConfig
from pipeline.inference.prediction.predict import image_files, predict
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


@pytest.fixture(scope="module")
def run(picture_features, tmp_path_factory):
    return train(TrainConfig(features=picture_features, out=tmp_path_factory.mktemp("predictions"), epochs=1)).path


@pytest.fixture
def mixed(tmp_path):
    """Two pictures, deep down and above, and a file that only looks like one."""
    (tmp_path / "a/deep").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a/deep/red.PNG")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "z.jpg")
    (tmp_path / "m.png").write_bytes(b"GIF")
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_folders_are_walked_in_order_and_a_link_round_is_not_followed(mixed):
    (mixed / "a/round").symlink_to(mixed)
    (mixed / "gone.png").symlink_to("nowhere")
    found = [str(path.relative_to(mixed)) for path in image_files((mixed, mixed / "notes.txt"))]
    assert found == ["a/deep/red.PNG", "gone.png", "m.png", "z.jpg", "notes.txt"]


def test_csv_has_a_row_for_every_file_and_a_reason_for_a_bad_one(run, mixed, capsys):
    with pytest.raises(InputError, match=r"1 of 3 files could not be read; the others are classified:\n  .*m\.png: "):
        predict(PredictConfig(images=(mixed,), run=run, csv=True))
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["image", "class", "blue", "red", "problem"]
    expected = HybridClassifier.load(run).predict([row["image"] for row in rows])
    for row, prediction in zip(rows, expected, strict=True):
        if prediction.problem:
            assert row["problem"] == prediction.problem
            assert row["class"] == row["blue"] == row["red"] == ""
        else:
            assert row["problem"] == ""
            assert row["class"] == prediction.label
            assert float(row["red"]) == pytest.approx(prediction.probabilities["red"], abs=2e-6)


def test_json_is_one_array_with_a_reason_for_a_bad_file(run, mixed, capsys):
    with pytest.raises(InputError):
        predict(PredictConfig(images=(mixed,), run=run, json=True))
    red, bad, blue = json.loads(capsys.readouterr().out)
    assert set(bad) == {"image", "problem"}
    for row in (red, blue):
        assert list(row["probabilities"]) == ["blue", "red"]
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].get)


def test_the_most_probable_classes(run, mixed, capsys):
    pictures = (mixed / "z.jpg",)
    predict(PredictConfig(images=pictures, run=run, top=2))
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["class", "probability", "class", "probability", "image"]
    first, value, second, rest, name = row.split()
    assert {first, second} == {"blue", "red"}
    assert float(value) >= float(rest)
    assert float(value) + float(rest) == pytest.approx(1, abs=2e-4)
    assert name == str(pictures[0])
    predict(PredictConfig(images=pictures, run=run, top=1, csv=True))
    header, row = capsys.readouterr().out.splitlines()
    assert header == "image,class 1,probability 1,problem"
    assert row.split(",")[1] == first
    predict(PredictConfig(images=pictures, run=run, top=1, json=True))
    assert list(json.loads(capsys.readouterr().out)[0]["probabilities"]) == [first]


def test_mistakes_are_told_before_anything_starts(run, mixed, capsys):
    (mixed / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no image in this folder .*\n.*nothing: no such file or folder"):
        predict(PredictConfig(images=(mixed / "empty", mixed / "nothing", mixed / "z.jpg"), run=run))
    with pytest.raises(InputError, match="--top is 3, but the head knows 2 classes: blue, red"):
        predict(PredictConfig(images=(mixed,), run=run, top=3))
    with pytest.raises(ValueError, match="--top is 0; it must be 1 or more"):
        PredictConfig(images=(mixed,), top=0)
    assert capsys.readouterr().out == ""


def test_an_array_that_was_stopped_is_still_json(run, mixed, capsys, monkeypatch):
    prediction = HybridClassifier.load(run).predict(mixed / "z.jpg")[0]

    def stopped(*arguments):
        yield prediction
        raise KeyboardInterrupt

    monkeypatch.setattr(HybridClassifier, "stream", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict(PredictConfig(images=(mixed,), run=run, json=True))
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_names_that_are_no_utf8_and_a_reader_that_has_had_enough(run, mixed, warm_python):
    name = os.fsencode(mixed) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes((mixed / "a/deep/red.PNG").read_bytes())
    command = [warm_python, "-m", "pipeline", "predict", "--run", str(run)]
    finished = subprocess.run([*command, os.fsdecode(name)], capture_output=True, check=True)
    assert name in finished.stdout
    with subprocess.Popen([*command, str(mixed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_onnx_runtime_gives_the_same_on_real_pictures_and_is_named(shared_data, shared_weights, tmp_path, capsys):
    made = train(TrainConfig(features=PACKAGED, out=tmp_path / "run", epochs=2)).path
    pictures = tuple(sorted((shared_data / "val").rglob("*.jpg"))[::10])
    config = PredictConfig(images=pictures, run=made, weights=str(shared_weights), json=True)
    expected = HybridClassifier.load(made, weights=str(shared_weights)).predict(pictures)
    capsys.readouterr()
    for runtime in ("onnxruntime", "torch"):
        predict(replace(config, runtime=runtime))
        out, err = capsys.readouterr()
        for row, prediction in zip(json.loads(out), expected, strict=True):
            assert row["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-4)
        assert ("the network runs in onnxruntime" in err) == (runtime == "onnxruntime")


def test_onnx_runtime_is_taken_where_it_is_worth_it(run, mixed, capsys, monkeypatch):
    config = PredictConfig(images=(mixed / "z.jpg",) * 2, run=run, csv=True)
    for worth, taken in ((3, False), (2, True)):
        monkeypatch.setattr("pipeline.inference.prediction.predict.WORTH_PREPARING", worth)
        predict(config)
        assert ("the network runs in onnxruntime" in capsys.readouterr().err) == taken
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    predict(config)
    out, err = capsys.readouterr()
    assert "the network runs in torch; ONNX Runtime, which is faster, can't be used: it is not installed" in err
    assert out.startswith("image,")
    with pytest.raises(InputError, match="ONNX Runtime can't be used: it is not installed"):
        predict(replace(config, runtime="onnxruntime"))
    with pytest.raises(ValueError, match="--runtime is torch, and rows of --features need no network"):
        PredictConfig(features=mixed / "rows.npz", runtime="torch")
