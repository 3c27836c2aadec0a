"""features.backbone.network: the frozen network is torchvision's, and nothing but tensors is ever read from a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from web import Web
from weights import offer, state_of, weights_at

from features.backbone import torchvision_models
from features.backbone.library import Library, NamedWeights, Network
from features.backbone.network import (
    DEFAULT,
    LIBRARIES,
    Backbone,
    backbone_names,
    is_named,
    list_backbones,
    load_backbone,
    weight_names,
)
from features.backbone.torchvision_models import TORCHVISION
from features.sources import download
from features.sources.download import DownloadError, download_weights
from features.util.errors import InputError


@pytest.fixture(scope="module")
def loaded(random_weights: Path) -> Backbone:
    return load_backbone(DEFAULT, str(random_weights))


def test_it_is_torchvisions_resnet18_without_its_last_layer(loaded: Backbone, random_weights: Path) -> None:
    reference = torchvision.models.resnet18(weights=None)
    reference.load_state_dict(state_of(random_weights))
    reference.fc = nn.Identity()
    reference.eval()
    pixels = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded.model(pixels), reference(pixels))
    assert (loaded.name, loaded.width, loaded.weights) == ("resnet18", 512, "random_resnet18.pth")


def test_it_is_frozen(loaded: Backbone) -> None:
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_its_preprocessing_is_the_preset(loaded: Backbone) -> None:
    image = Image.effect_noise((300, 260), 80).convert("RGB")
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert torch.equal(loaded.preprocess(image), preset(image))
    assert loaded.transform == (
        '{"antialias":true,"crop":[224],"interpolation":"bilinear","mean":[0.485,0.456,0.406],"resize":[256],'
        '"std":[0.229,0.224,0.225]}'
    )


def test_loading_leaves_the_random_numbers_alone(random_weights: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_backbone(DEFAULT, str(random_weights))
    assert torch.equal(torch.rand(3), expected)


def test_the_file_format_does_not_change_the_fingerprint(
    loaded: Backbone, random_weights: Path, tmp_path: Path
) -> None:
    state = state_of(random_weights)
    save_file(state, tmp_path / "w.safetensors")
    torch.save(dict(reversed(state.items())), tmp_path / "w.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pt", "old.pth"):
        assert load_backbone(DEFAULT, str(tmp_path / name)).weights_sha256 == loaded.weights_sha256


def test_the_classifier_may_be_of_any_width_or_absent(loaded: Backbone, random_weights: Path, tmp_path: Path) -> None:
    state = state_of(random_weights)
    torch.save(state | {"fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}, tmp_path / "two.pth")
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, tmp_path / "none.pth")
    for name in ("two.pth", "none.pth"):
        assert load_backbone(DEFAULT, str(tmp_path / name)).weights_sha256 == loaded.weights_sha256


def test_files_from_before_the_batch_counters_load(loaded: Backbone, random_weights: Path, tmp_path: Path) -> None:
    state = {key: value for key, value in state_of(random_weights).items() if "num_batches_tracked" not in key}
    assert len(state) == 102
    torch.save(state, tmp_path / "old.pth")
    assert load_backbone(DEFAULT, str(tmp_path / "old.pth")).weights_sha256 == loaded.weights_sha256


def test_one_changed_weight_changes_the_fingerprint(loaded: Backbone, random_weights: Path, tmp_path: Path) -> None:
    state = state_of(random_weights)
    state["layer4.1.conv2.weight"][0, 0, 0, 0] += 1e-3
    torch.save(state, tmp_path / "other.pth")
    assert load_backbone(DEFAULT, str(tmp_path / "other.pth")).weights_sha256 != loaded.weights_sha256


def test_named_weights_are_downloaded(
    web: Web, random_weights: Path, loaded: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = offer(web, random_weights.read_bytes(), name="resnet18-{}.pth")
    monkeypatch.setattr(torchvision_models, "download_weights", lambda _: download_weights(weights))
    named = load_backbone(DEFAULT, "IMAGENET1K_V1")
    assert (named.weights, named.weights_sha256) == ("IMAGENET1K_V1", loaded.weights_sha256)
    assert is_named(DEFAULT, "IMAGENET1K_V1")
    assert not is_named(DEFAULT, str(random_weights))


def test_named_weights_that_can_not_be_had(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_at(f"{web.url}/resnet18-00000000.pth")
    monkeypatch.setattr(torchvision_models, "download_weights", lambda _: download_weights(weights))
    with pytest.raises(DownloadError, match=r"resnet18-00000000\.pth could not be downloaded \(HTTP Error 404"):
        load_backbone(DEFAULT, "IMAGENET1K_V1")


# Other models --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    """The words of each line of the list of backbones, by the first; other libraries are a line each at its end."""
    lines = list_backbones().splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["timm:NAME", "hf:NAME"]
    return {line.split()[0]: line.split()[1:] for line in lines[1:-2]}


def test_the_list_names_every_classification_model(table: dict[str, list[str]]) -> None:
    assert list(table) == backbone_names()
    assert len(table) >= 80
    assert table["resnet18"] == ["512", "224", "11.2", "M", "IMAGENET1K_V1"]
    assert table["vit_h_14"] == ["1280", "518", "632.2", "M", "IMAGENET1K_SWAG_E2E_V1,", "IMAGENET1K_SWAG_LINEAR_V1"]


# The smallest of each family; the others are slow together.
ONE_OF_A_FAMILY = {
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
}
ONE_OF_A_FAMILY |= {"mnasnet0_5", "mobilenet_v2", "regnet_x_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5"}
ONE_OF_A_FAMILY |= {"squeezenet1_1", "swin_t", "vgg11", "vit_b_32", "wide_resnet50_2"}


def test_every_family_has_its_quick_one() -> None:
    families = {re.match("[a-z]+(?:_resnet)?", name)[0] for name in backbone_names()}
    assert {re.match("[a-z]+(?:_resnet)?", name)[0] for name in ONE_OF_A_FAMILY} == families


@pytest.mark.parametrize(
    "name",
    [name if name in ONE_OF_A_FAMILY else pytest.param(name, marks=pytest.mark.slow) for name in backbone_names()],
)
def test_each_gives_features_of_its_width_at_the_size_of_its_weights(name: str, table: dict[str, list[str]]) -> None:
    for crop in {models.get_model_weights(name)[known].transforms().crop_size[0] for known in weight_names(name)}:
        network = TORCHVISION.build(name, crop)
        model = network.model
        assert str(network.width) == table[name][0]
        assert isinstance(model.get_submodule(network.head_at), nn.Identity)
        assert all(buffer in model.state_dict() for buffer, _ in model.named_buffers())  # else a file would not hold it
        assert model.to("meta").eval()(torch.empty(2, 3, crop, crop, device="meta")).shape == (2, network.width)


def random_model(name: str, **options: object) -> nn.Module:
    """A model as torchvision makes it, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.get_model(name, weights=None, **options).eval()


def features_of(model: nn.Module, layer: str, pixels: torch.Tensor) -> torch.Tensor:
    """What arrives at a layer of the unchanged model."""
    received: list[torch.Tensor] = []
    watch = model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    with watch, torch.inference_mode():
        model(pixels)
    return received[0]


# As torchvision builds these two where it loads its named weights.
INCEPTION = {"transform_input": True, "aux_logits": True, "init_weights": False}


@pytest.mark.parametrize(
    ("name", "layer", "options"),
    [
        ("mobilenet_v3_small", "classifier.3", {}),
        ("shufflenet_v2_x0_5", "fc", {}),
        ("mnasnet0_5", "classifier.1", {}),
        ("regnet_y_400mf", "fc", {}),
        ("densenet121", "classifier", {}),
        ("googlenet", "fc", INCEPTION),
        ("inception_v3", "fc", INCEPTION),
    ],
)
def test_the_features_are_what_arrives_at_the_classification_layer(
    name: str, layer: str, options: dict[str, object], tmp_path: Path
) -> None:
    reference = random_model(name, **options)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    loaded = load_backbone(name, str(tmp_path / "weights.pth"))
    pixels = torch.randn(2, 3, *loaded.preprocess.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded.model(pixels), features_of(reference, layer, pixels))
    assert loaded.head_at == layer
    # Without the classification layer, and without what a safetensors file can't hold beside tensors.
    state = {key: value for key, value in reference.state_dict().items() if not key.startswith(f"{layer}.")}
    save_file(state, tmp_path / "headless.safetensors")
    assert load_backbone(name, str(tmp_path / "headless.safetensors")).weights_sha256 == loaded.weights_sha256


def test_squeezenets_features_are_the_pooled_maps_under_its_last_convolution(tmp_path: Path) -> None:
    reference = random_model("squeezenet1_1")
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    loaded = load_backbone("squeezenet1_1", str(tmp_path / "weights.pth"))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    maps = features_of(reference, "classifier.1", pixels)
    with torch.inference_mode():
        assert torch.allclose(loaded.model(pixels), maps.mean(dim=(2, 3)), atol=1e-6)
    assert (loaded.width, loaded.head_at) == (512, "classifier.3")


def test_weights_for_larger_pictures_come_with_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = random_model("vit_b_16", image_size=384)
    monkeypatch.setattr(torchvision_models, "download_weights", lambda _: reference.state_dict())
    loaded = load_backbone("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")
    assert loaded.preprocess.size == (384, 384)
    assert '"crop":[384],"interpolation":"bicubic"' in loaded.transform
    pixels = torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded.model(pixels), features_of(reference, "heads.head", pixels))


def test_densenet_files_from_before_pytorch_0_4_load(tmp_path: Path) -> None:
    state = random_model("densenet121").state_dict()
    torch.save(state, tmp_path / "new.pth")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value for key, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    new = load_backbone("densenet121", str(tmp_path / "new.pth"))
    assert load_backbone("densenet121", str(tmp_path / "old.pth")).weights_sha256 == new.weights_sha256


def test_a_file_in_half_precision_runs_in_float32(random_weights: Path, tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in state_of(random_weights).items()}, tmp_path / "half.pth")
    loaded = load_backbone(DEFAULT, str(tmp_path / "half.pth"))
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_the_alias_default_names_no_weights() -> None:
    assert weight_names("resnet50") == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    assert not is_named("resnet50", "DEFAULT")
    # These are for style transfer: the layers whose output would be the features hold no values.
    assert weight_names("vgg16") == ["IMAGENET1K_V1"]


def test_the_file_of_every_named_weights_carries_its_checksum() -> None:
    for name in backbone_names():
        for known in weight_names(name):
            file = Path(models.get_model_weights(name)[known].url).name
            assert re.fullmatch(r"[0-9a-f]{8,}", download._hash_in(file)), file


def test_an_unknown_backbone() -> None:
    for call in (weight_names, lambda name: load_backbone(name, "IMAGENET1K_V1")):
        with pytest.raises(InputError) as caught:
            call("ResNet-50")
        assert str(caught.value).startswith(
            "ResNet-50 is no classification model of torchvision; --backbone (make: BACKBONE=) takes one of those that "
            "`python -m features --list-backbones` lists (did you mean resnet50"
        )


def test_weights_that_another_backbone_has() -> None:
    with pytest.raises(InputError) as caught:
        load_backbone("vit_h_14", "IMAGENET1K_V1")
    assert str(caught.value).startswith(
        "IMAGENET1K_V1 is neither a file nor one of torchvision's vit_h_14 weights (IMAGENET1K_SWAG_E2E_V1, "
        "IMAGENET1K_SWAG_LINEAR_V1); --weights (make: WEIGHTS=) takes a file or one of these names"
    )


def test_the_real_weights(shared_weights: Path) -> None:
    loaded = load_backbone(DEFAULT, str(shared_weights))
    assert loaded.weights_sha256 == "6546c0587157a844070178f54dfc4739cd7a9389ac191e1c1f3ffebc169ea417"


def test_a_further_library_is_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, image_size: int) -> Network:
        assert (name, image_size) == ("mean", 224)
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5, device="meta"), nn.Identity())
        return Network(model=model, head_at="3", width=5, translate=lambda state: state)

    state = {"2.weight": torch.randn(5, 3), "2.bias": torch.randn(5)}
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms
    weights = {"V1": NamedWeights(preset=preset, fetch=lambda: state)}
    tiny = Library(title="tiny", names=lambda: ["mean"], weights=lambda _: weights, build=build)
    monkeypatch.setitem(LIBRARIES, "tiny", tiny)
    save_file(state, tmp_path / "mine.safetensors")

    named, file = (load_backbone("tiny:mean", text) for text in ("V1", str(tmp_path / "mine.safetensors")))
    assert (named.name, named.weights, file.weights) == ("tiny:mean", "V1", "mine.safetensors")
    assert named.weights_sha256 == file.weights_sha256
    pixels = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(named.model(pixels), pixels.mean((2, 3)) @ state["2.weight"].T + state["2.bias"])
    assert list_backbones().splitlines()[-3].split() == ["tiny:mean", "5", "224", "0.0", "M", "V1"]
    with pytest.raises(InputError, match=r"^tiny:man is no classification model of tiny; .* tiny:mean"):
        load_backbone("tiny:man", "V1")
    with pytest.raises(InputError, match=r"^V2 is neither a file nor one of tiny's mean weights .V1.;"):
        load_backbone("tiny:mean", "V2")
