"""features.backbone.runtime: whatever computes the features, they are the backbone's, and the record says what did."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from features.backbone import runtime as runtime_module
from features.backbone.network import DEFAULT, Backbone, load_backbone
from features.backbone.record import RuntimeRecord
from features.backbone.runtime import open_runtime
from features.sources.decode import decode
from features.util.errors import InputError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(name: str, folder: Path) -> Backbone:
    """A backbone with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.get_model(name, weights=None).state_dict(), folder / f"{name}.pth")
    return load_backbone(name, str(folder / f"{name}.pth"))


@pytest.fixture(scope="module")
def backbone(random_weights: Path) -> Backbone:
    return load_backbone(DEFAULT, str(random_weights))


def pixels_for(backbone: Backbone, images: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (images, 3, *backbone.preprocess.size), dtype=np.uint8)


def eager(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return backbone.model(backbone.preprocess.normalise(torch.from_numpy(pixels))).numpy()


def assert_same_features(made: np.ndarray, exact: np.ndarray) -> None:
    assert (made.shape, made.dtype) == (exact.shape, np.float32)
    assert np.abs(made - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
@pytest.mark.parametrize("images", [1, 3])
def test_the_features_are_those_of_the_backbone(backbone: Backbone, name: str, images: int) -> None:
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
    pixels = pixels_for(backbone, images)
    runtime = open_runtime(backbone, runtime=name, device="cpu")
    assert_same_features(runtime(pixels), eager(backbone, pixels))
    assert runtime.record.name == name
    assert (runtime.record.device, runtime.record.precision) == ("cpu", "float32")


def test_auto_takes_onnx_runtime_and_records_how_far_it_is_from_torch(backbone: Backbone, capsys) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    record = open_runtime(backbone, device="cpu").record
    assert (record.name, record.version) == ("onnxruntime", onnxruntime.__version__)
    assert 0 < record.max_difference <= 1e-5 * record.feature_scale
    assert capsys.readouterr().out == ""


def test_torchs_own_float32_needs_no_figures(backbone: Backbone) -> None:
    record = open_runtime(backbone, runtime="torch", device="cpu").record
    assert record == RuntimeRecord(name="torch", version=torch.__version__, device="cpu", precision="float32")


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_row_does_not_depend_on_what_ran_before_nor_on_threads(backbone: Backbone, name: str) -> None:
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
    pixels, other = pixels_for(backbone, 4), pixels_for(backbone, 1, seed=2)
    threads = torch.get_num_threads()
    try:
        one = open_runtime(backbone, runtime=name, threads=1)
        first = one(pixels)
        one(other)
        assert np.array_equal(one(pixels), first)
        two = open_runtime(backbone, runtime=name, threads=2)
        assert torch.get_num_threads() == 2
        assert np.array_equal(two(pixels), first)
        # Nor, for this network, on the rest of its batch.
        assert np.array_equal(np.concatenate([two(pixels[:1]), two(pixels[1:])]), first)
    finally:
        torch.set_num_threads(threads)


def test_the_backbone_is_left_as_it_was(backbone: Backbone) -> None:
    pixels = pixels_for(backbone, 2)
    before = eager(backbone, pixels)
    for precision in ("float32", "bfloat16"):
        open_runtime(backbone, runtime="auto", precision=precision)(pixels)
    assert np.array_equal(eager(backbone, pixels), before)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vit_b_32", "swin_t", "convnext_tiny")]


@pytest.mark.parametrize("name", ["efficientnet_b0", "squeezenet1_1", *SLOW])
def test_other_architectures(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    backbone = network(name, tmp_path)
    pixels = pixels_for(backbone, 1)
    runtime = open_runtime(backbone, device="cpu")
    assert_same_features(runtime(pixels), eager(backbone, pixels))
    assert runtime.record.name == "onnxruntime"
    assert capsys.readouterr().out == ""


def test_the_real_weights_on_real_images(shared_weights: Path, shared_data: Path) -> None:
    pytest.importorskip("onnxruntime")
    backbone = load_backbone(DEFAULT, str(shared_weights))
    files = sorted((shared_data / "val").rglob("*.jpg"))[::10]
    pixels = np.stack([backbone.preprocess.pixels(decode(file.read_bytes())) for file in files])
    assert_same_features(open_runtime(backbone, device="cpu")(pixels), eager(backbone, pixels))


# Where the fast way is closed ----------------------------------------------------------------------------------------


def fallback(backbone: Backbone, capsys: pytest.CaptureFixture[str]) -> str:
    """The reason that is printed; the network runs in torch all the same."""
    runtime = open_runtime(backbone, device="cpu")
    assert runtime.record.name == "torch"
    pixels = pixels_for(backbone, 2)
    assert_same_features(runtime(pixels), eager(backbone, pixels))
    [line] = capsys.readouterr().out.splitlines()
    with pytest.raises(InputError) as caught:
        open_runtime(backbone, runtime="onnxruntime")
    reason = line.removeprefix("the network runs in torch; ONNX Runtime, which is faster, can't be used: ")
    assert str(caught.value) == f"ONNX Runtime can't be used: {reason}; leave --runtime at auto"
    return reason


def test_without_onnx_runtime(backbone: Backbone, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert fallback(backbone, capsys) == "it is not installed (pip install onnx onnxruntime)"


def test_a_network_too_large_to_hand_over(backbone: Backbone, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtime_module, "MAX_EXPORTED_BYTES", 44_000_000)
    assert fallback(backbone, capsys) == "resnet18 has 45 MB of weights, too many to export"


class Bessel(torch.nn.Module):
    """A layer that has no counterpart in ONNX."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_a_layer_that_the_exporter_does_not_know(backbone: Backbone, capsys) -> None:
    pytest.importorskip("onnxruntime")
    before = backbone.model.fc
    try:
        backbone.model.fc = Bessel()
        reason = fallback(backbone, capsys)
    finally:
        backbone.model.fc = before
    assert reason.startswith("resnet18 can't be exported (Exporting the operator 'aten::special_bessel_j0' to ONNX")


def test_features_that_are_not_torchs(backbone: Backbone, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("onnxruntime")
    effects = runtime_module._effects

    def shifted(backbone, run):
        return effects(backbone, lambda pixels: run(pixels) + 1e-3)

    monkeypatch.setattr(runtime_module, "_effects", shifted)
    assert fallback(backbone, capsys).startswith(
        "its features of resnet18 differ from torch's by 0.001, where the largest"
    )


# Other precisions ----------------------------------------------------------------------------------------------------


def test_bfloat16_on_request_with_its_effect(backbone: Backbone) -> None:
    runtime = open_runtime(backbone, device="cpu", precision="bfloat16")
    record = runtime.record
    assert (record.name, record.precision) == ("torch", "bfloat16")
    assert 1e-4 < record.max_difference / record.feature_scale < 0.1
    pixels = pixels_for(backbone, 3)
    made, exact = runtime(pixels), eager(backbone, pixels)
    assert made.dtype == np.float32
    assert 1e-4 < np.abs(made - exact).max() / np.abs(exact).max() < 0.1


@CUDA
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1), ("float16", 0.02)])
def test_on_cuda(backbone: Backbone, precision: str, tolerance: float) -> None:
    runtime = open_runtime(backbone, precision=precision)
    assert runtime.record.device == "cuda"
    pixels = pixels_for(backbone, 5)
    exact = eager(backbone, pixels)
    assert np.abs(runtime(pixels) - exact).max() <= tolerance * np.abs(exact).max()
    assert np.array_equal(runtime(pixels), runtime(pixels))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_what_is_not_possible_is_told_all_at_once(backbone: Backbone) -> None:
    with pytest.raises(InputError) as caught:
        open_runtime(backbone, runtime="tensorrt", device="cuda", precision="float16")
    assert str(caught.value).splitlines() == [
        "--runtime is tensorrt; it must be one of auto, onnxruntime, torch",
        "--device is cuda, but torch finds no CUDA device here; leave it at auto",
        "--precision float16 needs a CUDA device; a CPU takes float32 or bfloat16",
    ]
    with pytest.raises(InputError, match="computes in float32, not in bfloat16"):
        open_runtime(backbone, runtime="onnxruntime", precision="bfloat16")
    with pytest.raises(InputError, match="--precision is float64; it must be one of float32, bfloat16, float16"):
        open_runtime(backbone, precision="float64")
