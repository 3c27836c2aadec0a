"""features.backbone.layers: any layer by name, pooled to a row, and a network that ends behind it."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision import models
from weights import state_of

from features.backbone.layers import CutNetwork, chosen, outputs, table
from features.backbone.library import Network
from features.backbone.network import DEFAULT, Backbone, list_layers, load_backbone
from features.backbone.onnx_model import to_onnx
from features.backbone.record import Layer
from features.backbone.runtime import _FromPixels, open_runtime, trial_pixels
from features.util.errors import InputError

LAYERS = ("layer2", "layer3", "layer1.0.relu", "bn1", "fc")


@pytest.fixture(scope="module")
def several(random_weights: Path) -> Backbone:
    return load_backbone(DEFAULT, str(random_weights), LAYERS)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def by_hand(random_weights: Path, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """The means of what torchvision's own ResNet18 gives inside."""
    model = models.resnet18(weights=None)
    model.load_state_dict(state_of(random_weights))
    model.fc = nn.Identity()
    kept: dict[str, torch.Tensor] = {}
    for name in LAYERS:
        # A block's ReLU runs twice; the later output stays.
        model.get_submodule(name).register_forward_hook(
            lambda *called, name=name: kept.update({name: called[-1].clone()})
        )
    with torch.inference_mode():
        model.eval()(pixels)
    return {name: output.mean((2, 3)) if output.ndim == 4 else output for name, output in kept.items()}


def test_several_layers_are_those_of_torchvisions_own_network(several, pixels, by_hand) -> None:
    """Also one whose output the network changes in place afterwards, and one that runs twice."""
    with torch.inference_mode():
        found = several.model(pixels).split(several.widths, dim=1)
    assert several.widths == (128, 256, 64, 64, 512)
    for layer, rows in zip(several.layers, found, strict=True):
        torch.testing.assert_close(rows, by_hand[layer.name])
    assert [layer.pooling for layer in several.layers] == ["mean", "mean", "mean", "mean", "none"]
    assert several.head_at == ""


def test_one_layer_is_the_same_alone(several, random_weights: Path, pixels) -> None:
    alone = load_backbone(DEFAULT, str(random_weights), ["layer3"])
    with torch.inference_mode():
        rows = alone.model(pixels)
        assert torch.equal(rows, several.only(["layer3"]).model(pixels))
        assert torch.equal(rows, several.model(pixels)[:, 128:384])
    assert (alone.layer, alone.width) == (Layer(name="layer3", pooling="mean"), 256)
    assert alone.weights_sha256 == load_backbone(DEFAULT, str(random_weights)).weights_sha256


def test_nothing_runs_behind_the_last_layer(several, pixels) -> None:
    cut = several.only(["layer3", "layer2"]).model
    ran = []
    for name, module in cut.network.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    try:
        with torch.inference_mode():
            cut(pixels)
    finally:
        for module in cut.network.modules():
            module._forward_hooks.popitem()
    assert "layer3.1.bn2" in ran
    assert not any(name.startswith(("layer4", "avgpool", "fc")) or name == "" for name in ran)


def test_onnx_runtime_gets_no_more_of_the_network(several) -> None:
    pytest.importorskip("onnxruntime")
    backbone = several.only(["layer2"])
    pixels = trial_pixels(backbone, 2)
    weights = sum(
        parameter.nbytes
        for name, parameter in backbone.model.network.named_parameters()
        if not name.startswith(("layer3", "layer4"))
    )
    model = to_onnx(_FromPixels(backbone).eval(), torch.from_numpy(pixels), ["features"])
    assert weights * 0.9 < len(model) < weights * 1.1
    runtime = open_runtime(backbone, runtime="onnxruntime")
    with torch.inference_mode():
        exact = backbone.model(backbone.preprocess.normalise(torch.from_numpy(pixels))).numpy()
    assert np.abs(runtime(pixels) - exact).max() <= 1e-5 * np.abs(exact).max()


def test_each_layer_has_a_record_of_its_own(several) -> None:
    pytest.importorskip("onnxruntime")
    records = open_runtime(several, runtime="onnxruntime").records
    assert len(records) == len(LAYERS)
    assert len({record.feature_scale for record in records}) == len(LAYERS)
    assert all(record.max_difference <= 1e-5 * record.feature_scale for record in records)
    assert open_runtime(several, runtime="torch", device="cpu").records[1].max_difference is None


def test_copies_pickles_and_threads(several, pixels) -> None:
    model = several.only(["layer2", "bn1"]).model
    with torch.inference_mode():
        expected = model(pixels)
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(again(pixels), expected)
    found: dict[int, torch.Tensor] = {}

    def run(index: int) -> None:
        with torch.inference_mode():
            found[index] = model(pixels[index : index + 1])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.testing.assert_close(torch.cat([found[index] for index in range(3)]), expected)


class Gives(nn.Module):
    """Gives what a function makes of any batch."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: torch.Tensor):
        return self.make(images)


class Kinds(nn.Module):
    """A network of one layer for each kind of output."""

    KINDS: ClassVar = {
        "maps": lambda x: x.new_ones(len(x), 5, 4, 4),
        "channels_last": lambda x: torch.arange(6.0).expand(len(x), 4, 4, 6),
        "patches": lambda x: torch.arange(9.0)[:, None].expand(len(x), 9, 7),
        "tokens": lambda x: torch.arange(10.0)[:, None].expand(len(x), 10, 7),
        "row": lambda x: x.new_ones(len(x), 3),
        "first_of_several": lambda x: {"last_hidden_state": x.new_ones(len(x), 2), "other": x},
        "oblong": lambda x: x.new_ones(len(x), 8, 3, 5),
        "windows": lambda x: x.new_ones(4 * len(x), 9, 7),
        "numbers": lambda x: torch.ones(len(x), 3, dtype=torch.int64),
        "nothing": lambda _: None,
    }

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1))
        for name, make in self.KINDS.items():
            setattr(self, name, Gives(make))
        self.unused = nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for name in self.KINDS:
            getattr(self, name)(images)
        return images.mean((2, 3))


def test_every_kind_of_output() -> None:
    network = Network(model=Kinds(), head_at="", width=3, translate=lambda state: state)
    found = outputs(network, 8)
    kinds = {name: (each.layer.pooling, each.width) for name, each in found.items() if each.layer}
    assert kinds == {
        "maps": ("mean", 5),
        "channels_last": ("mean", 6),
        "patches": ("mean", 7),  # a square number of tokens: there is no class token among them
        "tokens": ("class token", 7),
        "row": ("none", 3),
        "first_of_several": ("none", 2),
    }
    names = list(kinds)
    rows = CutNetwork(network.model, chosen(found, names, "x"))(torch.zeros(2, 3, 8, 8))[1]
    assert rows.split([width for _, width in kinds.values()])[1].tolist() == [0, 1, 2, 3, 4, 5]
    assert [rows[11 + 0].item(), rows[18].item()] == [4.0, 0.0]
    for name in ("oblong", "windows", "numbers"):
        with pytest.raises(InputError, match=rf"--layer {name} of tiny gives .* can't be made a row; .*--list-layers"):
            chosen(found, [name], "tiny")
    for name in ("nothing", "unused"):
        with pytest.raises(InputError, match=f"--layer {name} is no layer of tiny that a picture passes"):
            chosen(found, [name], "tiny")
    assert [line.split()[0] for line in table(found).splitlines()] == ["layer", *names]


def test_an_unknown_layer_is_told_with_the_known_ones(random_weights: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_backbone(DEFAULT, str(random_weights), ["layre3"])
    assert str(caught.value).startswith(
        "--layer layre3 is no layer of torchvision's resnet18 that a picture passes (did you mean layer3?); it has "
        "these, and --list-layers says what each gives:\n  conv1\n  bn1\n  relu\n  maxpool\n  layer1\n"
    )


def test_the_list_of_layers_needs_no_weights() -> None:
    lines = list_layers("resnet18", "IMAGENET1K_V1").splitlines()
    assert lines[0].split() == ["layer", "gives", "features", "pooling"]
    assert ["layer3", "256", "×", "14", "×", "14", "256", "mean"] in [line.split() for line in lines]
    assert lines[-1].split() == ["fc", "512", "512", "none"]


def test_the_layers_of_a_vision_transformer_of_torchvision() -> None:
    """Its tokens start with the class token, which its head reads."""
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 12, 24).eval()
    network = Network(model=model, head_at="heads.head", width=12, translate=lambda state: state)
    found = outputs(network, 32)
    block = found["encoder.layers.encoder_layer_1"]
    assert (block.shape, block.layer.pooling) == ((17, 12), "class token")
    pixels = torch.randn(2, 3, 32, 32)
    model.heads = nn.Identity()
    with torch.inference_mode():
        rows = CutNetwork(model, [found["encoder.ln"]])(pixels)
        torch.testing.assert_close(rows, model(pixels))
