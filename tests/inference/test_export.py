import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from circuits import MixedCircuit, RotCircuit, circuits, seeds
from demo_model import demo_model
from hypothesis import given, settings
from PIL import Image

import pipeline.inference.export
from features.sources.decode import decode
from features.util.errors import InputError
from pipeline import DressedQuantumNet, HybridClassifier
from pipeline.heads.fixed import FixedChain, FixedProgram
from pipeline.inference.config import ExportConfig
from pipeline.inference.export import export
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


@pytest.fixture(scope="module")
def run(picture_features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    train(TrainConfig(features=picture_features, out=folder, epochs=2))
    export(ExportConfig(run=folder))
    return folder


@pytest.fixture(scope="module")
def pixels(run, picture_folder_once):
    """Of the validation pictures, (5, 3, 224, 224) uint8."""
    transforms = HybridClassifier.load(run).transforms
    pictures = sorted((picture_folder_once / "val").rglob("*.png"))
    return np.stack([transforms.pixels(decode(path.read_bytes())) for path in pictures])


def logits_by_us(run, pixels, epoch="last"):
    classifier = HybridClassifier.load(run, epoch=epoch)
    with torch.inference_mode():
        return classifier(classifier.transforms.normalise(torch.from_numpy(pixels))).numpy()


@settings(max_examples=25, deadline=None)
@given(circuit=circuits, seed=seeds)
def test_a_fixed_head_is_the_head(circuit, seed):
    torch.manual_seed(seed)
    n_qubits, entangler = circuit.n_qubits, circuit.entangler
    head = DressedQuantumNet(6, 3, n_qubits, circuit.depth, q_delta=2.0, entangler=entangler)
    features = torch.randn(5, 6)
    with torch.no_grad():
        fixed = head.for_export()
        assert isinstance(fixed.circuit, FixedChain)
        torch.testing.assert_close(fixed(features), head(features), rtol=0, atol=2e-5)


@pytest.mark.parametrize("circuit", [MixedCircuit(n_qubits=3, depth=2), RotCircuit(n_qubits=3, depth=2)])
def test_complex_gates_are_taken_too(circuit):
    head = DressedQuantumNet(6, 3, 3, q_delta=1.0, circuit=circuit, weight_shapes={"weights": (circuit.n_weights,)})
    features = torch.randn(5, 6)
    with torch.no_grad():
        fixed = head.for_export()
        assert isinstance(fixed.circuit, FixedProgram)
        torch.testing.assert_close(fixed(features), head(features), rtol=0, atol=2e-5)


def test_onnx_runtime_gives_our_logits_for_any_number_of_pictures(run, pixels):
    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    expected = logits_by_us(run, pixels)
    for images in (1, 2, 5):
        logits, probabilities = session.run(["logits", "probabilities"], {"pixels": pixels[:images]})
        np.testing.assert_allclose(logits, expected[:images], rtol=0, atol=1e-4)
        exact = torch.from_numpy(logits).softmax(dim=1).numpy()
        np.testing.assert_allclose(probabilities, exact, rtol=0, atol=1e-6)


def test_the_file_needs_neither_torch_nor_pennylane_nor_us(run, pixels, tmp_path):
    np.save(tmp_path / "pixels.npy", pixels)
    code = """
import sys
for name in ("torch", "pennylane", "features", "pipeline"):
    sys.modules[name] = None
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
print(json.dumps(session.run(["logits"], {"pixels": numpy.load("pixels.npy")})[0].tolist()))
"""
    (tmp_path / "model.onnx").write_bytes((run / "model.onnx").read_bytes())
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    np.testing.assert_allclose(json.loads(finished.stdout), logits_by_us(run, pixels), rtol=0, atol=1e-4)


def test_the_file_tells_how_to_use_it_and_where_it_comes_from(run):
    metadata = onnxruntime.InferenceSession(run / "model.onnx").get_modelmeta()
    assert "short side resized to 256" in metadata.description
    known = metadata.custom_metadata_map
    assert json.loads(known["classes"]) == ["blue", "red"]
    assert known["weights_sha256"] == json.loads(known["run"])["features"]["weights_sha256"]
    assert json.loads(known["epoch"]) == 2


def test_the_demos_own_model_takes_the_state_dict(run, pixels):
    model = demo_model()
    model.load_state_dict(torch.load(run / "model.pth", weights_only=True))
    normalise = HybridClassifier.load(run).transforms.normalise
    with torch.inference_mode():
        logits = model(normalise(torch.from_numpy(pixels))).numpy()
    np.testing.assert_allclose(logits, logits_by_us(run, pixels), rtol=0, atol=1e-4)


def test_the_best_epoch_and_another_folder(run, pixels, tmp_path, capsys):
    export(ExportConfig(run=run, out=tmp_path / "new", epoch="best"))
    assert str(tmp_path / "new/model.onnx") in capsys.readouterr().out.splitlines()[-1]
    session = onnxruntime.InferenceSession(tmp_path / "new/model.onnx")
    np.testing.assert_allclose(
        session.run(["logits"], {"pixels": pixels})[0], logits_by_us(run, pixels, "best"), rtol=0, atol=1e-4
    )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.onnx", "model.pth"]


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mlp", "pca", "sequential")]


@pytest.mark.parametrize("head", ["linear", "logistic", "rbf-svm", "fidelity-svm", *SLOW])
def test_other_heads(picture_features, pixels, tmp_path, head):
    train(TrainConfig(features=picture_features, out=tmp_path, epochs=1, head=head))
    export(ExportConfig(run=tmp_path))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    logits = session.run(["logits"], {"pixels": pixels})[0]
    np.testing.assert_allclose(logits, logits_by_us(tmp_path, pixels), rtol=0, atol=1e-4)


def test_ten_qubits_are_the_most(picture_features, pixels, tmp_path):
    for qubits in (10, 11):
        train(TrainConfig(features=picture_features, out=tmp_path / str(qubits), epochs=1, qubits=qubits, depth=2))
    export(ExportConfig(run=tmp_path / "10"))
    session = onnxruntime.InferenceSession(tmp_path / "10/model.onnx")
    logits = session.run(["logits"], {"pixels": pixels})[0]
    np.testing.assert_allclose(logits, logits_by_us(tmp_path / "10", pixels), rtol=0, atol=1e-4)
    with pytest.raises(InputError, match=r"has 11 qubits.*at most 10.*--qubits"):
        export(ExportConfig(run=tmp_path / "11"))
    assert not (tmp_path / "11/model.onnx").exists()


def test_a_file_that_disagrees_is_not_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.inference.export, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="differ from ours by"):
        export(ExportConfig(run=run, out=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_without_onnx_runtime_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install onnx onnxruntime"):
        export(ExportConfig(run=run))


def test_training_again_takes_the_files_away(picture_features, tmp_path):
    for epochs in (1, 2):
        train(TrainConfig(features=picture_features, out=tmp_path / "run", epochs=epochs, force=True))
        assert not (tmp_path / "run" / "model.onnx").exists()
        assert not (tmp_path / "run" / "model.pth").exists()
        export(ExportConfig(run=tmp_path / "run"))


def test_pillow_and_onnx_runtime_are_enough(run, picture_folder_once):
    """The recipe of the README: short side, centre, channels first."""
    picture = sorted((picture_folder_once / "val").rglob("*.png"))[0]
    image = Image.open(picture).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(run / "model.onnx")
    probabilities = session.run(["probabilities"], {"pixels": pixels})[0][0]
    expected = HybridClassifier.load(run).predict(picture)[0].probabilities
    assert dict(zip(["blue", "red"], probabilities, strict=True)) == pytest.approx(expected, abs=1e-4)
