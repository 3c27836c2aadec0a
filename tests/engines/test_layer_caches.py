"""Features of layers: a cache each from one pass, each up to date by itself; heads on them run the network as far."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import names_in

from features import ExtractConfig, load_features, make_features, make_layers
from features.backbone.record import Layer
from features.cache.info import info, separation
from features.cache.store import open_cache, verify_features
from features.config import InfoConfig
from features.engines.local import LocalEngine
from features.sources.decode import decode
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.clean import clean
from pipeline.demo.limits import Limits
from pipeline.demo.reading import Reader
from pipeline.inference.config import EvalConfig, ExportConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.export import export
from pipeline.report import write_report
from pipeline.report.commands import commands
from pipeline.stages import Stages
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run

LAYERS = ("layer2", "layer3", "fc")


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(
        data=str(picture_folder),
        weights=str(random_weights),
        out=tmp_path / "out/features.h5",
        runtime="torch",
        shard_rows=4,
        layers=LAYERS,
    )


def test_one_pass_leaves_a_cache_for_each_layer(config: ExtractConfig, computed, picture_features: Path) -> None:
    made = make_layers(config)
    assert sum(computed) == 13
    assert names_in(config.out.parent) == ["features-fc.h5", "features-layer2.h5", "features-layer3.h5"]
    assert [each.shapes["train"] for each in made] == [(8, 128), (8, 256), (8, 512)]
    last = load_features(config.out.with_name("features-fc.h5"))
    np.testing.assert_allclose(last.val.features, load_features(picture_features).val.features, atol=1e-4)
    alone = load_features(make_features(replace(config, layers=("layer3",), out=config.out.with_name("one.h5"))).path)
    several = load_features(config.out.with_name("features-layer3.h5"))
    assert alone.provenance.layer == several.provenance.layer == Layer(name="layer3", pooling="mean")
    assert np.array_equal(alone.train.features, several.train.features)
    assert alone.content_sha256 == several.content_sha256


def test_each_cache_is_kept_or_made_by_itself(config: ExtractConfig, computed, picture_folder: Path, capsys) -> None:
    first = make_layers(config)
    computed.clear()
    assert make_layers(config) == first
    assert computed == []
    config.out.with_name("features-layer2.h5").unlink()
    capsys.readouterr()
    made = make_layers(config)
    assert sum(computed) == 13
    assert made[0].content_sha256 == first[0].content_sha256
    assert capsys.readouterr().out.count("up to date, same images, weights and transform") == 2

    computed.clear()
    next((picture_folder / "val").rglob("*.png")).unlink()
    config.out.with_name("features-fc.h5").unlink()
    make_layers(config)
    assert sum(computed) == 12  # for fc alone; the rows of the others are taken over
    assert [each.provenance.taken_over and each.provenance.taken_over.rows for each in make_layers(config)] == [
        12,
        12,
        None,
    ]


def test_a_cache_of_another_layer_is_not_taken_for_it(config: ExtractConfig, computed, capsys) -> None:
    """Though it is as wide, and its pictures, network and weights are the same."""
    out = config.out.with_name("one.h5")
    plain = make_features(replace(config, layers=(), out=out))
    assert plain.provenance.layer is None
    computed.clear()
    capsys.readouterr()
    made = make_features(replace(config, layers=(), layer="layer4", out=out))
    assert sum(computed) == 13
    assert "making the features again: other layer than those of" in capsys.readouterr().out
    assert made.shapes == plain.shapes
    with open_cache(out) as file:
        assert file.attrs["format_version"] == 4  # earlier versions read up to 3: they would run the whole network


def test_an_interrupted_pass_goes_on_layer_by_layer(config: ExtractConfig, computed, monkeypatch, capsys) -> None:
    extract = LocalEngine.extract

    def stopped(self, folders, jobs, watch, advance) -> None:
        extract(self, folders, jobs[:1], watch, advance)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "extract", stopped)
        with pytest.raises(KeyboardInterrupt, match="3 of 12 pieces are finished and kept"):
            make_layers(config)
    computed.clear()
    made = make_layers(config)
    assert "going on where an earlier run stopped: 4 of 13 images are done" in capsys.readouterr().out
    assert sum(computed) == 9
    undisturbed = make_layers(replace(config, out=config.out.with_name("again.h5")))
    assert [each.content_sha256 for each in made] == [each.content_sha256 for each in undisturbed]
    assert len(names_in(config.out.parent)) == 6


def test_shards_and_views(config: ExtractConfig) -> None:
    made = make_layers(replace(config, layers=("layer1", "layer3"), shards=True, views=2))
    assert [each.path.name for each in made] == ["features-layer1-*.h5", "features-layer3-*.h5"]
    assert load_features(made[1].path).train.views.shape == (8, 2, 256)
    assert verify_features(made[0].path).provenance.layer.name == "layer1"


def test_make_clean_takes_layers_away_and_nothing_else(config: ExtractConfig) -> None:
    made = make_layers(config)
    backup = config.out.with_name("features-backup.h5")
    backup.write_bytes(made[0].path.read_bytes())
    (config.out.parent / ".features-layer2.h5.parts").mkdir()
    assert clean(config.out.parent) == [backup]


def test_mistakes_in_layers_are_told(config: ExtractConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--layer is a, and --layers is given too"):
        replace(config, layer="a")
    with pytest.raises(InputError, match=r"--layer is 'a/b'; a layer is a dotted name"):
        replace(config, layers=("a/b", "c"))
    with pytest.raises(InputError, match="--layers names a twice"):
        replace(config, layers=("a", "b", "a"))
    with pytest.raises(InputError, match="--layers names 3 layers, and features of one are wanted"):
        make_features(config)
    with pytest.raises(InputError, match="--layer layer9 is no layer of torchvision's resnet18"):
        make_layers(replace(config, layers=("layer1", "layer9")))
    assert names_in(config.out.parent) == []
    with pytest.raises(InputError, match="--offline uses the packaged features"):
        make_features(ExtractConfig(offline=True, layer="layer3", out=tmp_path / "f.h5"))


def test_make_takes_one_layer_for_a_run_and_several_alone(config: ExtractConfig, capsys) -> None:
    variables = {"DATA": config.data, "WEIGHTS": config.weights, "OUT": str(config.out.parent)}
    several = variables | {"FEATURES_ARGS": "--layers layer1 layer2"}
    with pytest.raises(InputError, match="features: --layers makes several caches, and what follows takes one"):
        Stages(["train"], several).make()
    Stages(["features"], several).make()
    assert names_in(config.out.parent) == ["features-layer1.h5", "features-layer2.h5"]
    one = variables | {"FEATURES_ARGS": "--layer layer1", "TRAIN_ARGS": "--epochs 1 --qubits 2 --depth 1"}
    Stages(["train"], one).make()
    Stages(["train"], variables | {"FEATURES_ARGS": ""}).make()  # the recorded layer is kept
    assert "up to date, same images, weights and transform" in capsys.readouterr().out
    assert load_run(config.out.with_name("run")).features.provenance.layer.name == "layer1"
    with pytest.raises(InputError, match="--layer layer1 there, layer2 asked for"):
        Stages(["features"], variables | {"FEATURES_ARGS": "--layer layer2"}).make()


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_a_head_on_a_layer_runs_the_network_up_to_it(config: ExtractConfig, picture_folder: Path, layer: str) -> None:
    """In eval, HybridClassifier, export and the demo, to 1e-4 of the logits of the cached features."""
    out = config.out.with_name("one.h5")
    made = make_features(replace(config, layers=(), layer=layer, out=out))
    folder = config.out.with_name("run")
    run = train(TrainConfig(features=made.path, out=folder, epochs=2, qubits=3, depth=2))
    assert json.loads((folder / "run.json").read_text())["format_version"] == 3
    cached = load_features(out).val
    with torch.inference_mode():
        expected = run.head()(torch.from_numpy(cached.features)).numpy()

    report = evaluate(EvalConfig(run=folder))
    assert report.record.parity.holds
    assert report.record.parity.max_difference <= 1e-4
    assert f"--layer {layer}" in commands(report)[0]

    classifier = HybridClassifier.load(folder)
    assert classifier.provenance["layer"] == layer
    files = [picture_folder / path for path in cached.paths]
    pixels = np.stack([classifier.transforms.pixels(decode(file.read_bytes())) for file in files])
    with torch.inference_mode():
        found = classifier(classifier.transforms.normalise(torch.from_numpy(pixels))).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        Reader(classifier, Limits())(files[0].read_bytes()).logits, expected[0], rtol=0, atol=1e-4
    )
    probabilities = [list(each.probabilities.values()) for each in classifier.predict(files)]
    np.testing.assert_allclose(probabilities, torch.from_numpy(expected).softmax(dim=1), rtol=0, atol=1e-4)

    export(ExportConfig(run=folder))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["logits"], {"pixels": pixels})[0], expected, rtol=0, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map["layer"] == layer
    assert not (folder / "model.pth").exists()
    with pytest.raises(InputError, match=f"the head reads the layer {layer}"):
        classifier.demo_state_dict()


def test_info_ranks_layers(config: ExtractConfig, capsys) -> None:
    files = tuple(each.path for each in make_layers(config))
    capsys.readouterr()
    info(InfoConfig(files=files))
    text = capsys.readouterr().out
    assert text.count("backbone   resnet18") == 3
    assert "layer      layer3, pooling: mean\n" in text
    table = text.split("\n\n")[-1].splitlines()
    figures = [float(line.split()[0]) for line in table[1:]]
    assert figures == sorted(figures, reverse=True)
    assert {line.split()[4] for line in table[1:]} == set(LAYERS)
    info(InfoConfig(files=files, json=True))
    assert [record["layer"]["name"] for record in json.loads(capsys.readouterr().out)] == list(LAYERS)


@pytest.mark.slow
def test_real_pictures_and_weights(shared_data: Path, shared_weights: Path, tmp_path: Path) -> None:
    """The deeper a block of ResNet18, the better it separates ants from bees."""
    config = ExtractConfig(
        data=str(shared_data),
        weights=str(shared_weights),
        out=tmp_path / "features.h5",
        layers=("layer1", "layer3", "layer4"),
    )
    made = {each.provenance.layer.name: each for each in make_layers(config)}
    accuracy = {name: separation(each)["accuracy"] for name, each in made.items()}
    assert accuracy["layer1"] < 0.8 < accuracy["layer3"] < 0.9 < accuracy["layer4"]
    run = train(TrainConfig(features=made["layer3"].path, out=tmp_path / "run"))
    assert run.history[-1].val_accuracy >= 0.8
    report = evaluate(EvalConfig(run=tmp_path / "run"))
    assert "resnet18</strong>, layer <strong>layer3</strong>" in write_report(report).read_text(encoding="utf-8")
    assert report.record.parity.images == 153
    assert report.record.parity.max_difference <= 1e-4
