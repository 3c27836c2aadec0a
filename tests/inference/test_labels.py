"""predict --labels: true classes, metrics of what was predicted, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.inference.config import EvalConfig, PredictConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.hybrid import Prediction
from pipeline.inference.prediction import predict as module
from pipeline.inference.prediction.judged import Judge
from pipeline.inference.prediction.labels import of_file, of_folders
from pipeline.inference.prediction.predict import predict
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.util.metrics import METRICS

CLASSES = ["ants", "bees"]


def written(file, *lines, header="image,class"):
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def test_a_csv_names_pictures_in_four_ways(tmp_path, monkeypatch):
    pictures = tmp_path / "pictures"
    (pictures / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    things = [Path("pictures/a.jpg"), Path("pictures/deep/b.jpg"), pictures / "c.jpg", Path("pictures/d.jpg")]
    lines = ["pictures/a.jpg,bees", "deep/b.jpg,ants", f"{pictures}/c.jpg,bees", "e.jpg,ants", "d.jpg,"]
    file = written(tmp_path / "labels.csv", *lines)
    assert of_file(file, things, CLASSES, [pictures]).tolist() == [1, 0, 1, -1]


def test_other_columns_are_left_out_and_spreadsheets_marks_too(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("﻿note,id,label\nx,7,bees\ny,8, ants \n", encoding="utf-8")
    assert of_file(file, [Path("7"), Path("8"), Path("9")], CLASSES, []).tolist() == [1, 0, -1]


def test_labels_of_nothing_here_are_counted(tmp_path, capsys):
    of_file(written(tmp_path / "l.csv", "7,bees", "70,ants"), [Path("7")], CLASSES, [])
    assert capsys.readouterr().err.startswith("1 of 2 labels in ")


@pytest.mark.parametrize(
    ("lines", "header", "said"),
    [
        (
            ["7,wasps", "8,bee", "9,bee"],
            "image,class",
            r"'wasps', 1 of them\n  'bee', 2 of them \(did you mean bees\?\)",
        ),
        (["7,bees"], "file,kind", "has the columns file, kind; labels need image or path or id, and class or label"),
        (["7,bees", "7,ants"], "image,class", "gives 7 two classes, in lines 2 and 3"),
        (["nowhere,bees"], "image,class", "no label in .* is of what is classified here; its first is of nowhere"),
        (["7"], "image,class", "line 2 of .* has fewer cells"),
        (['7,"bees'], "image,class", "is no CSV: line 2"),
    ],
)
def test_mistakes_in_a_csv(tmp_path, lines, header, said):
    with pytest.raises(InputError, match=said):
        of_file(written(tmp_path / "l.csv", *lines, header=header), [Path("7"), Path("8"), Path("9")], CLASSES, [])


def test_a_line_that_fits_two_pictures_is_refused(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    things = [folder / "a.jpg" for folder in folders]
    with pytest.raises(InputError, match=r"line 2 of .* fits two pictures"):
        of_file(written(tmp_path / "l.csv", "a.jpg,bees"), things, CLASSES, folders)


def test_folders_are_classes(tmp_path):
    assert of_folders([tmp_path / "bees/a.jpg", tmp_path / "ants/b.jpg"], CLASSES).tolist() == [1, 0]
    with pytest.raises(InputError, match="--labels folder names classes that the head does not know:\n  'holiday'"):
        of_folders([tmp_path / "holiday/a.jpg"], CLASSES)


def test_forms_that_do_not_fit_are_refused():
    with pytest.raises(FlagError, match="--labels is folder, and rows of --features lie in none"):
        PredictConfig(features=Path("rows.npz"), labels="folder")
    with pytest.raises(FlagError, match="--labels is features, and pictures are given"):
        PredictConfig(images=(Path("a.jpg"),), labels="features")
    with pytest.raises(InputError, match="there is no such file; give a CSV, or `folder`, or `features`"):
        of_file(Path("nowhere.csv"), [], CLASSES, [])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(TrainConfig(features=PACKAGED, out=tmp_path_factory.mktemp("labels") / "run", epochs=3)).path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The packaged validation rows with names and labels."""
    val = read_features(PACKAGED).val
    file = tmp_path_factory.mktemp("rows") / "rows.npz"
    names = np.array(CLASSES)[val.labels]
    np.savez(file, features=val.features, labels=names, ids=np.array([Path(path).name for path in val.paths]))
    return file


def test_metrics_are_those_of_eval(run, rows, tmp_path, capsys):
    out = tmp_path / "classes.csv"
    predict(PredictConfig(run=run, features=rows, labels="features", csv=True, out=out))
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "classes.csv.metrics.json").read_text(encoding="utf-8"))
    expected = evaluate(EvalConfig(run=run)).record.epochs.last
    assert (found["labelled"], found["unlabelled"], found["unread"]) == (153, 0, 0)
    assert found["metrics"]["confusion"] == expected.confusion
    assert found["scores"].keys() == METRICS.keys()
    for name, estimate in found["scores"].items():
        assert estimate["value"] == pytest.approx(expected.scores[name].value, abs=1e-6), name
    assert sorted(file.name for file in tmp_path.iterdir()) == ["classes.csv", "classes.csv.metrics.json"]
    assert "153 rows with a label; 0 without" in said
    low, high = expected.scores["roc_auc"].interval95
    assert f"{expected.scores['roc_auc'].value:.4f}  {low:.4f} to {high:.4f}" in said
    assert "true, predicted     ants     bees" in said


def test_of_some_rows_by_a_csv_the_others_are_counted(run, rows, tmp_path, capsys):
    val = read_features(PACKAGED).val
    lines = [f"{Path(val.paths[row]).name},{CLASSES[val.labels[row]]}" for row in range(0, 153, 2)]
    predict(PredictConfig(run=run, features=rows, labels=str(written(tmp_path / "l.csv", *lines)), json=True))
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 153
    assert "77 rows with a label; 76 without, which don't count" in said.err


def test_a_stopped_command_goes_on_and_ends_in_the_same_metrics(run, rows, tmp_path, monkeypatch):
    config = PredictConfig(run=run, features=rows, labels="features", csv=True, top=1, out=tmp_path / "whole.csv")
    predict(config)
    stopped = replace(config, out=tmp_path / "out.csv")
    whole = module._classify

    def until(work, kept, show, unread, bar, take):
        shown = iter(range(40))

        def stop(prediction):
            if next(shown, None) is None:
                raise KeyboardInterrupt
            show(prediction)

        whole(work, kept, stop, unread, bar, take)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_classify", until)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                predict(stopped)
    with pytest.raises(InputError, match="was begun by another command"):
        predict(replace(stopped, labels=None))
    predict(stopped)
    for name in ("out.csv", "out.csv.metrics.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("out", "whole")).read_bytes()
    assert len(list(tmp_path.iterdir())) == 4


def test_probabilities_that_are_gone_are_said(run, rows, tmp_path, monkeypatch):
    config = PredictConfig(run=run, features=rows, labels="features", csv=True, out=tmp_path / "out.csv")
    monkeypatch.setattr(module.ResultFile, "take_up", lambda self, *_: setattr(self, "kept", 3))
    with pytest.raises(
        InputError, match=r"\.out\.csv\.scores, the probabilities of the 3 finished rows, is gone or cut"
    ):
        predict(config)


def test_pictures_by_their_folders_and_one_that_can_not_be_read(
    picture_features, picture_folder_once, tmp_path, capsys
):
    of_pictures = train(TrainConfig(features=picture_features, out=tmp_path / "run", epochs=1)).path
    shutil.copytree(picture_folder_once / "val", tmp_path / "val")
    (tmp_path / "val/red/broken.png").write_bytes(b"GIF")
    total = sum(1 for _ in (tmp_path / "val").rglob("*.png"))
    with pytest.raises(InputError, match=f"1 of {total} files could not be read"):
        predict(PredictConfig(run=of_pictures, images=(tmp_path / "val",), labels="folder"))
    said = capsys.readouterr().out
    assert f"{total - 1} pictures with a label; 0 without, which don't count; 1 with one can't be read" in said


def judged(classes, probabilities, truth):
    judge = Judge("labels.csv", np.array(truth), classes)
    with judge.taking(0) as take:
        for row in probabilities:
            take(Prediction.of(Path("x"), classes, row) if row else Prediction(path=Path("x"), problem="broken"))
        return judge.judged()


def test_a_class_without_rows_has_a_reason_instead_of_a_number():
    text = judged(CLASSES, [[0.9, 0.1], [0.2, 0.8], None], [0, 0, -1]).text("pictures")
    assert "2 pictures with a label; 1 without, which don't count\n" in text
    assert "ROC AUC                     –  no sample is of class bees" in text
    assert judged(CLASSES, [None], [0]) is None


def test_of_many_classes_the_frequent_confusions_are_told():
    classes = [f"class {k}" for k in range(20)]
    rows = [np.eye(20)[(k + 1) % 20].tolist() for k in range(20)]
    text = judged(classes, rows, list(range(20))).text("pictures")
    assert text.count("taken for") == 12
    assert "class 0 taken for class 1\n" in text
