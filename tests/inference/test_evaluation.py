import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from features.config import ExtractConfig
from features.extract import make_features
from features.sources.catalogue import Selection
from features.sources.images import open_images
from features.util.errors import InputError
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.sources import find_images
from pipeline.report import write_report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run
from pipeline.util.metrics import metrics


@pytest.fixture(scope="module")
def trained(picture_folder_once, random_weights, tmp_path_factory):
    """A head trained on generated pictures: (run folder, picture folder, weights)."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = shutil.copytree(picture_folder_once, folder / "pictures")
    weights = shutil.copy(random_weights, folder / "weights.pth")
    make_features(ExtractConfig(data=str(pictures), weights=str(weights), out=folder / "features.h5", batch=4))
    train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=2))
    return folder


@pytest.fixture
def config(trained):
    return EvalConfig(run=trained / "run", batch=4)


def test_metrics_of_a_known_table():
    logits = functional.one_hot(torch.tensor([0, 0, 1, 1, 1]), 2).double()
    labels = torch.tensor([0, 1, 1, 1, 0])
    found = metrics(logits, labels)
    assert found.confusion == [[1, 1], [1, 2]]
    assert (found.accuracy, found.correct, found.total) == (0.6, 3, 5)
    assert found.precision == pytest.approx([1 / 2, 2 / 3])
    assert found.recall == pytest.approx([1 / 2, 2 / 3])
    assert found.f1 == pytest.approx([1 / 2, 2 / 3])
    assert found.support == [2, 3]
    assert found.loss == pytest.approx((3 * 0.313262 + 2 * 1.313262) / 5, abs=1e-6)


def test_the_interval_is_wilsons():
    # E. B. Wilson (1927), eq. 4, for the paper's 148 of 153.
    logits = functional.one_hot(torch.tensor([0] * 148 + [1] * 5), 2).double()
    low, high = metrics(logits, torch.zeros(153, dtype=torch.int64)).wilson95
    z, p, n = 1.959964, 148 / 153, 153
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n),
    )
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert (round(low, 3), round(high, 3)) == (0.926, 0.986)


def test_a_class_never_predicted_scores_zero_without_a_warning():
    found = metrics(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert found.precision == [0.5, 0.0]


def test_the_whole_network_on_the_images_agrees_with_the_head_on_the_cache(config):
    report = evaluate(config)
    assert report.record.source == "images"
    assert report.record.not_run == []
    assert report.record.parity.holds
    assert report.record.parity.max_difference <= 1e-4
    assert report.record.parity.images == len(report.labels)
    assert report.record.epochs.last.accuracy == report.run.history[-1].val_accuracy
    best = max(row.val_accuracy for row in report.run.history)
    assert report.record.epochs.best.accuracy == best


def test_without_the_images_it_says_what_was_not_run_and_what_it_needs(config, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved/pictures")
    moved = replace(config, run=tmp_path / "moved/run", features=tmp_path / "moved/features.h5")
    shutil.move(trained / "pictures", trained / "elsewhere")
    try:
        report = evaluate(moved)
        assert report.record.source == "features"
        assert report.record.parity is None
        assert len(report.record.not_run) == 1
        assert "the images of pictures are not at" in report.record.not_run[0]
        found = evaluate(replace(moved, data=str(trained / "elsewhere")))
        assert found.record.source == "images"
        assert found.record.epochs == report.record.epochs or found.record.parity.holds
    finally:
        shutil.move(trained / "elsewhere", trained / "pictures")


def test_images_named_but_not_there_are_an_error(config, tmp_path):
    with pytest.raises(InputError, match="the images of pictures are not at"):
        evaluate(replace(config, data=str(tmp_path / "none")))


def test_other_images_are_refused(config, trained, tmp_path):
    pictures = shutil.copytree(trained / "pictures", tmp_path / "pictures")
    next((pictures / "val").rglob("*.png")).unlink()
    with pytest.raises(InputError, match=r"are not those that .* was made from"):
        evaluate(replace(config, data=str(pictures)))


def test_another_backbone_is_refused_unless_it_is_asked_for(config, trained, tmp_path):
    state = torch.load(trained / "weights.pth", weights_only=True)
    state["conv1.weight"] *= 1.5
    torch.save(state, tmp_path / "other.pth")
    other = replace(config, weights=str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match=r"was trained on features of weights\.pth .* but other\.pth has"):
        evaluate(other)
    report = evaluate(replace(other, accept_other_weights=True))
    assert report.record.source == "images"
    assert report.record.parity is None


def test_other_features_are_refused(config, feature_file):
    with pytest.raises(InputError, match="holds other features than those the head"):
        evaluate(replace(config, features=feature_file))


# Images that are not a folder with train/ and val/ --------------------------------------------------------------------


def made_of(data, weights, folder):
    """The run and the evaluation of a head trained on the images of ``data``."""
    make_features(ExtractConfig(data=str(data), weights=str(weights), out=folder / "features.h5", batch=4))
    train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=1))
    return EvalConfig(run=folder / "run", batch=4)


def test_a_torchvision_data_set_is_opened_again_by_its_name(cifar, random_weights, tmp_path):
    config = made_of("cifar10", random_weights, tmp_path)
    report = evaluate(config)
    assert report.record.source == "images"
    assert report.record.parity.holds
    assert report.record.classes == ["airplane", "cat", "dog"]
    assert report.record.features["data_location"] == "cifar10"
    write_report(report)
    assert "predictions.png" in json.loads((config.run / "report.json").read_text())["pictures"]


def test_a_list_is_opened_again_where_it_was(picture_folder, random_weights, tmp_path):
    images = sorted(picture_folder.rglob("*.png"))
    rows = [f"{image},{image.parts[-2]},{image.parts[-3]}" for image in images]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    report = evaluate(made_of(tmp_path / "list.csv", random_weights, tmp_path))
    assert report.record.source == "images"
    assert report.record.parity.holds
    assert report.paths == tuple(str(image) for image in images if image.parts[-3] == "val")


def test_a_choice_is_made_again(trained):
    run = load_run(trained / "run")
    chosen = replace(run.features.provenance, selection=Selection(split=0.25, seed=3))
    again = replace(run, features=replace(run.features, provenance=chosen))
    found = find_images(again, str(trained / "pictures/train"))
    assert found == open_images(str(trained / "pictures/train"), split=0.25, seed=3)


def test_validation_rows_that_do_not_fit_are_read_block_by_block(trained, monkeypatch, capsys):
    rows = EvalConfig(run=trained / "run", data=None, weights=None)
    monkeypatch.setattr("pipeline.inference.evaluation._images_at_hand", lambda *_: (None, {}))
    whole = evaluate(rows)
    monkeypatch.setattr("pipeline.inference.classified.allowed_memory", lambda: 0)
    monkeypatch.setattr("pipeline.inference.classified.SAMPLE", 2)
    monkeypatch.setattr("pipeline.training.streaming.stream.ROWS_AT_ONCE", 2)
    streamed = evaluate(rows)
    assert "validation rows take" in capsys.readouterr().out
    assert list(streamed.paths) == list(whole.paths)
    assert (streamed.labels == whole.labels).all()
    assert streamed.probabilities == pytest.approx(whole.probabilities, abs=1e-6)
    assert streamed.record.epochs.last.confusion == whole.record.epochs.last.confusion
    assert len(streamed.sampled) == len(streamed.features) == 2 < len(whole.features)
    assert (streamed.features == whole.features[streamed.sampled]).all()
    write_report(streamed)
    with pytest.raises(InputError, match=r"don't fit into memory, and --q-device, --shots and --noise need them"):
        evaluate(replace(rows, shots=(10,)))
