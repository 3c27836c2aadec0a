"""timm and Hugging Face behind the seam: models of theirs with random weights, in folders of their own formats."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image, ImageFilter

from features.backbone import huggingface_models, timm_models
from features.backbone.network import Backbone, is_named, load_backbone, restore_backbone
from features.backbone.preprocess import Preprocess
from features.config import ExtractConfig
from features.extract import make_features
from features.sources.download import DownloadError
from features.util.errors import InputError
from pipeline import HybridClassifier
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


class Late:
    """A module that is imported when it is used: these take seconds, also of workers that run none of these tests."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


timm, transformers = Late("timm"), Late("transformers")
PICTURE = Image.effect_noise((301, 260), 80).convert("RGB").filter(ImageFilter.GaussianBlur(1))


def clip():
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=layers, vision_config=layers | {"image_size": 64, "patch_size": 16}, projection_dim=24
    )
    size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    return transformers.CLIPModel(config), transformers.CLIPImageProcessor(**size)


def dinov2():
    config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=70)
    size = {"size": {"shortest_edge": 80}, "crop_size": {"height": 70, "width": 70}}
    return transformers.Dinov2Model(config), transformers.BitImageProcessor(**size)


def vit():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=64
    )
    return transformers.ViTModel(config), transformers.ViTImageProcessor(size={"height": 64, "width": 64})


def convnext():
    config = transformers.ConvNextConfig(hidden_sizes=[4, 8, 16, 32], depths=[1, 1, 1, 1])
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 96}, crop_pct=0.875)
    return transformers.ConvNextModel(config), processor


def saved(make, folder: Path):
    """A model in a folder of Hugging Face's format; the model and its processor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = make()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a network that is not there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def assert_restored(loaded: Backbone, pixels: torch.Tensor) -> None:
    """From its record, by way of JSON, and its tensors alone, a network is the same."""
    again = restore_backbone(json.loads(json.dumps(loaded.record())), loaded.tensors())
    assert again.record() == loaded.record()
    torch.testing.assert_close(again.preprocess(PICTURE), loaded.preprocess(PICTURE), rtol=0, atol=0)
    with torch.inference_mode():
        assert torch.equal(again.model(pixels), loaded.model(pixels))


@pytest.mark.parametrize("make", [clip, dinov2, vit, convnext])
def test_a_hugging_face_folder_is_its_own_model(make, tmp_path: Path) -> None:
    model, processor = saved(make, tmp_path / "model")
    loaded = load_backbone(f"hf:{tmp_path / 'model'}", "IMAGENET1K_V1")
    pixels = processor(images=PICTURE, return_tensors="pt")["pixel_values"]
    assert (loaded.preprocess(PICTURE) - pixels[0]).abs().max() <= 1.5 / 255 / min(processor.image_std)
    with torch.inference_mode():
        found = getattr(model, "get_image_features", model)(pixel_values=pixels)
        expected = found if isinstance(found, torch.Tensor) else found.pooler_output
        torch.testing.assert_close(loaded.model(pixels), expected.flatten(1))
    assert (loaded.width, loaded.weights) == (expected.shape[1], "main")
    shutil.rmtree(tmp_path / "model")
    assert_restored(loaded, pixels)
    assert is_named(loaded.name, "IMAGENET1K_V1")


def test_a_processor_that_does_something_else_is_refused(tmp_path: Path) -> None:
    model, _ = vit()
    model.save_pretrained(tmp_path / "model")
    nearest = transformers.ViTImageProcessor(size={"height": 64, "width": 64}, resample=0)
    nearest.save_pretrained(tmp_path / "model")
    huggingface_models._preset.cache_clear()
    with pytest.raises(InputError, match=r"(?s)prepares pictures in a way that is not done here: .*features import"):
        load_backbone(f"hf:{tmp_path / 'model'}", "main")


@pytest.mark.parametrize("repository", ["nobody/nothing", "no-such-folder"])
def test_a_repository_that_can_not_be_had(repository: str) -> None:
    with pytest.raises(DownloadError, match=f"of {repository} can't be had"):
        load_backbone(f"hf:{repository}", "main")


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"]
)
@pytest.mark.parametrize("safe", [True, False])
def test_a_timm_folder_is_its_own_model(name: str, safe: bool, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=False, num_classes=7).eval()
    timm.models.save_for_hf(model, str(tmp_path), model_config={"mean": [0.1, 0.2, 0.3]}, safe_serialization=safe)
    loaded = load_backbone(f"timm:{name}", str(tmp_path))
    saved_config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=saved_config), is_training=False
    )
    torch.testing.assert_close(loaded.preprocess(PICTURE), transform(PICTURE))
    pixels = transform(PICTURE)[None]
    model.reset_classifier(0)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(pixels), model(pixels))
        assert loaded.model(pixels).shape == (1, loaded.width)
    assert loaded.model.get_submodule(loaded.head_at) is not None
    assert_restored(loaded, pixels)


def test_a_timm_file_is_prepared_as_its_first_weights(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    loaded = load_backbone("timm:resnet10t", str(tmp_path / "w.pth"))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg), is_training=False)
    torch.testing.assert_close(loaded.preprocess(PICTURE), transform(PICTURE))
    with pytest.raises(InputError, match=r"w\.pth holds no weights of timm's resnet18"):
        load_backbone("timm:resnet18", str(tmp_path / "w.pth"))


def test_what_timm_has_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="timm:resnet9 is no classification model of timm;"):
        load_backbone("timm:resnet9", "IMAGENET1K_V1")
    with pytest.raises(DownloadError, match="timm's weights c3_in1k of resnet10t can't be had"):
        load_backbone("timm:resnet10t", "IMAGENET1K_V1")
    with pytest.raises(InputError, match=r"is no folder of timm's: config\.json"):
        load_backbone("timm:resnet10t", str(tmp_path))
    timm.models.save_for_hf(timm.create_model("resnet10t"), str(tmp_path), model_config={})
    with pytest.raises(InputError, match="holds weights of timm:resnet10t, not of timm:resnet18"):
        load_backbone("timm:resnet18", str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"damaged")
    with pytest.raises(InputError, match="holds no weights that can be read"):
        load_backbone("timm:resnet10t", str(tmp_path))


def test_padded_pictures_are_refused_and_squashed_ones_squashed() -> None:
    config = {"input_size": (3, 96, 96), "crop_mode": "border", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(InputError, match="by padding them"):
        timm_models._preset("some", config)
    preset = timm_models._preset("some", config | {"crop_mode": "squash", "crop_pct": 1.0})
    whole = Preprocess(preset).pixels(PICTURE)
    assert (whole == Preprocess(SimpleNamespace(**vars(preset) | {"resize_size": [96, 96]})).pixels(PICTURE)).all()
    assert whole.shape == (3, 96, 96)


@pytest.mark.parametrize("prefix", ["timm", "hf"])
def test_a_library_that_is_not_installed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"timm": "timm", "hf": "transformers"}[prefix], None)
    with pytest.raises(InputError, match="which is not installed; install it: pip install"):
        load_backbone(f"{prefix}:resnet18", "IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("make", "layer", "pooling"),
    [
        (clip, "vision_model.encoder.layers.0", "class token"),
        (dinov2, "encoder.layer.0", "class token"),
        (vit, "embeddings", "class token"),
        (convnext, "encoder.stages.2", "mean"),
    ],
)
def test_a_layer_of_a_hugging_face_model(make, layer: str, pooling: str, tmp_path: Path) -> None:
    model, processor = saved(make, tmp_path / "model")
    name = next(name for name, _ in model.named_modules() if name.endswith(layer))
    loaded = load_backbone(f"hf:{tmp_path / 'model'}", "main", [name])
    assert loaded.layer.pooling == pooling
    pixels = processor(images=PICTURE, return_tensors="pt")["pixel_values"]
    kept: list[Any] = []
    model.get_submodule(name).register_forward_hook(lambda *called: kept.append(called[-1]))
    with torch.inference_mode():
        getattr(model, "get_image_features", model)(pixel_values=pixels)
        output = kept[-1][0] if isinstance(kept[-1], tuple) else kept[-1]
        expected = output[:, 0] if pooling == "class token" else output.mean((2, 3))
        torch.testing.assert_close(loaded.model(pixels), expected)


@pytest.mark.parametrize(
    ("name", "layer", "pooling"),
    [
        ("resnet10t", "layer3", "mean"),
        ("vit_tiny_patch16_224", "blocks.5", "class token"),
        ("deit_tiny_distilled_patch16_224", "blocks.5", "class token"),
    ],
)
def test_a_layer_of_a_timm_network(name: str, layer: str, pooling: str, tmp_path: Path) -> None:
    model = timm.create_model(name, pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    loaded = load_backbone(f"timm:{name}", str(tmp_path / "w.pth"), [layer])
    pixels = loaded.preprocess(PICTURE)[None]
    with torch.inference_mode():
        kept: list[torch.Tensor] = []
        model.get_submodule(layer).register_forward_hook(lambda *called: kept.append(called[-1]))
        model(pixels)
        expected = kept[0][:, 0] if pooling == "class token" else kept[0].mean((2, 3))
        torch.testing.assert_close(loaded.model(pixels), expected)
    assert (loaded.layer.name, loaded.layer.pooling, loaded.head_at) == (layer, pooling, "")


def test_features_training_and_evaluation_end_to_end(picture_folder_once: Path, tmp_path: Path) -> None:
    saved(dinov2, tmp_path / "model")
    config = ExtractConfig(
        data=str(picture_folder_once),
        backbone=f"hf:{tmp_path / 'model'}",
        runtime="torch",
        out=tmp_path / "features.h5",
    )
    made = make_features(config)
    assert made.shapes["train"] == (8, 32)
    train(TrainConfig(features=made.path, out=tmp_path / "run", qubits=2, depth=1, epochs=1))
    report = evaluate(EvalConfig(run=tmp_path / "run"))
    assert report.record.source == "images"
    assert report.record.parity is not None
    assert report.record.parity.holds
    classifier = HybridClassifier.load(tmp_path / "run")
    assert len(classifier.predict(sorted(picture_folder_once.rglob("*.png"))[:2])) == 2
