"""The whole network in a folder: saved after training, after fine-tuning, damaged, stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import names_in
from safetensors.torch import save_file
from torch.nn import functional

from features.config import ExtractConfig
from features.extract import make_features
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.inference.config import ExportConfig, PredictConfig
from pipeline.inference.export import export
from pipeline.inference.prediction.predict import predict
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train

CIRCUIT = """\
import pennylane as qml

weight_shapes = {"turns": (2, 3)}


def mine(inputs, turns):
    for row in turns:
        qml.AngleEmbedding(inputs, wires=range(3))
        for wire in range(3):
            qml.RY(row[wire], wires=wire)
    return [qml.expval(qml.Z(wire)) for wire in range(3)]
"""


@pytest.fixture(scope="module")
def run(small_features, tmp_path_factory):
    return train(TrainConfig(features=small_features, out=tmp_path_factory.mktemp("saved") / "run", epochs=2)).path


@pytest.fixture
def classifier(run):
    return HybridClassifier.load(run)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def logits(classifier, pixels):
    with torch.inference_mode():
        return classifier(pixels)


@pytest.mark.parametrize("layer", ["", "stage3"])
def test_it_is_the_same_network_without_the_run_and_its_weights(
    layer, picture_folder, picture_folder_once, small_features, pixels, tmp_path
):
    weights = shutil.copy(small_features.parent / "random_shufflenet_v2_x0_5.pth", tmp_path / "weights.pth")
    config = ExtractConfig(backbone="shufflenet_v2_x0_5", weights=str(weights), runtime="torch", layer=layer)
    make_features(replace(config, data=str(picture_folder), out=tmp_path / "features.h5"))
    train(TrainConfig(features=tmp_path / "features.h5", out=tmp_path / "run", epochs=2))
    classifier = HybridClassifier.load(tmp_path / "run", epoch="best")
    before, picture = logits(classifier, pixels), next(picture_folder_once.rglob("*.png"))
    classifier.save(tmp_path / "saved/net")
    assert names_in(tmp_path / "saved/net") == ["config.json", "model.safetensors"]
    shutil.move(tmp_path / "saved/net", tmp_path / "elsewhere")
    for gone in ("run", "pictures"):
        shutil.rmtree(tmp_path / gone)
    for gone in ("weights.pth", "features.h5"):
        (tmp_path / gone).unlink()
    again = HybridClassifier.load(tmp_path / "elsewhere")
    assert torch.equal(logits(again, pixels), before)
    assert again.predict(picture) == classifier.predict(picture)
    assert again.classes == ["blue", "red"]
    assert again.provenance["weights_sha256"] == classifier.provenance["weights_sha256"]
    assert again.provenance["epoch"] == classifier.provenance["epoch"]
    assert not any(parameter.requires_grad for parameter in again.backbone.parameters())
    config = json.loads((tmp_path / "elsewhere/config.json").read_text())
    assert config["fine_tuned"] == []
    assert config["backbone"]["name"] == "shufflenet_v2_x0_5"
    assert str(tmp_path) not in json.dumps(config)  # paths tell of the machine, and no more


def test_layers_of_the_backbone_that_were_trained_further(picture_features, pixels, tmp_path):
    train(TrainConfig(features=picture_features, out=tmp_path / "run", epochs=1))
    classifier = HybridClassifier.load(tmp_path / "run").train()
    classifier.backbone.layer4.requires_grad_(True)
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    functional.cross_entropy(classifier(pixels), torch.tensor([0, 1, 0])).backward()
    before = classifier.backbone.layer4[1].conv2.weight.clone()
    optimizer.step()
    assert not torch.equal(classifier.backbone.layer4[1].conv2.weight, before)
    classifier.save(tmp_path / "net")
    assert classifier.training
    assert classifier.head.training
    assert not classifier.backbone.training
    again = HybridClassifier.load(tmp_path / "net")
    assert torch.equal(logits(again, pixels), logits(classifier.eval(), pixels))
    assert json.loads((tmp_path / "net/config.json").read_text())["fine_tuned"] == ["backbone", "head"]
    # The record of what it was made from outlives another round.
    again.save(tmp_path / "twice")
    twice = HybridClassifier.load(tmp_path / "twice")
    assert twice.provenance == again.provenance
    assert json.loads((tmp_path / "twice/config.json").read_text())["fine_tuned"] == ["backbone", "head"]


def test_other_classes_names_are_kept(classifier, tmp_path):
    classifier.classes = ["cold", "warm"]
    classifier.save(tmp_path)
    assert HybridClassifier.load(tmp_path).classes == ["cold", "warm"]


@pytest.mark.parametrize("head", ["linear", "logistic", "rbf-svm", "fidelity-svm"])
def test_other_heads(small_features, pixels, tmp_path, head):
    train(TrainConfig(features=small_features, out=tmp_path / "run", epochs=1, head=head))
    classifier = HybridClassifier.load(tmp_path / "run")
    classifier.save(tmp_path / "net")
    assert torch.equal(logits(HybridClassifier.load(tmp_path / "net"), pixels), logits(classifier, pixels))


def test_a_circuit_of_a_file_comes_along(small_features, pixels, tmp_path):
    file = tmp_path / "my_circuit.py"
    file.write_text(CIRCUIT)
    train(TrainConfig(features=small_features, out=tmp_path / "run", epochs=1, circuit=f"{file}:mine", qubits=3))
    classifier = HybridClassifier.load(tmp_path / "run")
    before = logits(classifier, pixels)
    classifier.save(tmp_path / "net")
    file.unlink()
    shutil.rmtree(tmp_path / "run")
    again = HybridClassifier.load(tmp_path / "net")
    assert torch.equal(logits(again, pixels), before)
    circuit = again.provenance["run"]["circuit"]
    assert (circuit["name"], circuit["source"]) == ("my_circuit.py:mine", CIRCUIT)


def test_predict_and_export_take_it(classifier, picture_folder_once, tmp_path, capsys):
    picture = next(picture_folder_once.rglob("*.png"))
    classifier.save(tmp_path)
    predict(PredictConfig(images=(picture,), run=tmp_path, json=True))
    found = json.loads(capsys.readouterr().out)[0]["probabilities"]
    assert found == pytest.approx(classifier.predict(picture)[0].probabilities, abs=1e-6)
    export(ExportConfig(run=tmp_path, out=tmp_path / "exported"))
    assert names_in(tmp_path / "exported") == ["model.onnx", "model.pth"]


def test_one_that_is_there_is_replaced_and_other_files_stay(run, classifier, pixels, tmp_path):
    classifier.save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with torch.no_grad():
        classifier.head.post_net.bias += 1
    classifier.save(tmp_path)
    assert torch.equal(logits(HybridClassifier.load(tmp_path), pixels), logits(classifier, pixels))
    assert names_in(tmp_path) == ["config.json", "model.safetensors", "notes.txt"]


def test_a_stop_at_any_moment_leaves_the_one_or_the_other(classifier, pixels, tmp_path, monkeypatch):
    """Each change of the folder's names is followed by a kill once."""
    classifier.save(tmp_path / "net")
    before = logits(classifier, pixels)
    with torch.no_grad():
        classifier.head.post_net.bias += 1
    after, seen = logits(classifier, pixels), set()
    for stop in range(8):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "net", tmp_path / "copy")
        left = iter(range(stop))

        def stopped(function, left=left):
            def call(*arguments, **options):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patched:
            for name in ("replace", "unlink"):
                patched.setattr(Path, name, stopped(getattr(Path, name)))
            try:
                classifier.save(tmp_path / "copy")
            except KeyboardInterrupt:
                seen.add("stopped")
        found = logits(HybridClassifier.load(tmp_path / "copy"), pixels)
        assert torch.equal(found, before) or torch.equal(found, after)
        seen.add("before" if torch.equal(found, before) else "after")
    assert seen == {"stopped", "before", "after"}


def test_what_would_be_lost_or_be_another_is_refused(run, classifier, tmp_path):
    with pytest.raises(InputError, match="holds a run; name another folder"):
        classifier.save(run)
    (tmp_path / "theirs").mkdir()
    save_file({"weight": torch.zeros(1)}, tmp_path / "theirs/model.safetensors")
    with pytest.raises(InputError, match=r"was not written by HybridClassifier\.save.* Nothing was changed"):
        classifier.save(tmp_path / "theirs")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file; name a folder"):
        classifier.save(tmp_path / "file")
    with pytest.raises(InputError, match=r"is in torch\.float64, and is saved in float32"):
        classifier.double().save(tmp_path / "new")
    classifier.float().backbone.maxpool = torch.nn.AvgPool2d(3, 2, 1)
    with pytest.raises(InputError, match="loaded again it would be another: it computes something else"):
        classifier.save(tmp_path / "new")
    classifier.head = torch.nn.Linear(1024, 2)
    with pytest.raises(InputError, match=r"loaded again it would be another: .* can't be built"):
        classifier.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_can_not_be_loaded_is_a_clear_error(run, classifier, tmp_path):
    classifier.save(tmp_path / "net")
    net, content = tmp_path / "net", (tmp_path / "net/model.safetensors").read_bytes()
    with pytest.raises(InputError, match="holds one head and its own weights; leave out"):
        HybridClassifier.load(net, epoch="best")
    (net / "config.json").write_text((net / "config.json").read_text().replace('"red"', '"green"'))
    with pytest.raises(InputError, match=r"config\.json is not the configuration in .*put it back, or delete it"):
        HybridClassifier.load(net)
    (net / "config.json").unlink()
    assert HybridClassifier.load(net).classes == ["blue", "red"]
    (net / "model.safetensors").write_bytes(content[:-100] + bytes(100))
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: the head is not what was saved"):
        HybridClassifier.load(net)
    (net / "model.safetensors").write_bytes(content[:-1000])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged \(.*\); copy or save it again"):
        HybridClassifier.load(net)
    (net / "model.safetensors").write_bytes(content.replace(b'\\"format_version\\": 1', b'\\"format_version\\": 9', 1))
    with pytest.raises(InputError, match="has format version 9, this program reads 1; update the program"):
        HybridClassifier.load(net)
    (net / "model.safetensors").unlink()
    (net / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no model\.safetensors, which holds the weights"):
        HybridClassifier.load(net)
