"""The whole pipeline on the demo's images with ImageNet weights; skipped, with the reason, where they are absent."""

import numpy as np
import onnxruntime
import pytest
import torch
from demo_model import demo_model

from features.cache.store import read_features
from features.config import ExtractConfig
from features.extract import make_features
from features.sources.decode import decode
from pipeline import HybridClassifier
from pipeline.inference.config import EvalConfig, ExportConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.export import export
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def features(shared_data, shared_weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "features.h5"
    return make_features(ExtractConfig(data=str(shared_data), weights=str(shared_weights), out=out))


def test_last_epoch_accuracy_over_three_seeds_and_parity(features, tmp_path):
    for seed in (0, 1, 2):
        run = train(TrainConfig(features=features.path, out=tmp_path / str(seed), seed=seed))
        assert run.parameters == 2086
        assert run.history[-1].val_accuracy >= 0.92
    report = evaluate(EvalConfig(run=run.path))
    assert report.record.source == "images"
    assert report.record.parity.images == 153
    assert report.record.parity.max_difference <= 1e-4


def test_cached_hybrid_exported_and_demo_logits_agree(features, shared_data, tmp_path):
    run = train(TrainConfig(features=features.path, out=tmp_path))
    export(ExportConfig(run=tmp_path))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    demo = demo_model()
    demo.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    classifier = HybridClassifier.load(tmp_path)
    cached = read_features(features.path).val
    pixels = np.stack([classifier.transforms.pixels(decode((shared_data / p).read_bytes())) for p in cached.paths])
    logits = {"exported": session.run(["logits"], {"pixels": pixels})[0]}
    images = classifier.transforms.normalise(torch.from_numpy(pixels))
    with torch.inference_mode():
        logits["cached"] = run.head()(torch.from_numpy(cached.features)).numpy()
        logits["hybrid"] = classifier(images).numpy()
        logits["demo"] = demo(images).numpy()
    differences = {name: float(np.abs(rows - logits["hybrid"]).max()) for name, rows in logits.items()}
    print(differences)
    assert len(pixels) == 153
    assert max(differences.values()) <= 1e-4
