"""pipeline.explain.gradcam against finite differences, on networks of several kinds, and under randomised weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import get_model

from features.backbone.layers import CutNetwork, chosen, outputs
from features.backbone.library import Network
from features.backbone.network import load_backbone
from features.cache.packaged import PACKAGED
from features.sources.decode import decode
from features.util.errors import InputError
from pipeline import DressedQuantumNet, HybridClassifier
from pipeline.explain.gradcam import GradCAM, Maps, grad_cam, last_maps
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train


class Small(nn.Module):
    """Two convolutions of one module each, the second changed in place, and a mean."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def maps(self, images):
        return self.second(torch.relu(self.first(images)))

    def rows(self, maps):
        return torch.relu_(maps.clone()).mean((2, 3))

    def forward(self, images):
        return torch.relu_(self.second(torch.relu(self.first(images)))).mean((2, 3))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small().double().eval()


@pytest.fixture
def images():
    return torch.randn(5, 3, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def quantum_head(width, classes=2, **more):
    torch.manual_seed(2)
    return DressedQuantumNet(width, classes, n_qubits=3, depth=2, q_delta=0.5, **more)


def by_finite_differences(network, head, image, label, step=1e-5):
    """Grad-CAM of one image without autograd: a map's weight is how its logit answers when the whole map is raised."""
    with torch.no_grad():
        maps = network.maps(image[None])[0]
        weights = []
        for channel in range(len(maps)):
            ends = []
            for sign in (1, -1):
                moved = maps.clone()
                moved[channel] += sign * step
                ends.append(head(network.rows(moved[None]))[0, label].item())
            weights.append((ends[0] - ends[1]) / (2 * step) / maps[0].numel())
        heat = sum(weight * each for weight, each in zip(weights, maps, strict=True)).clamp(min=0)
        heat = interpolate(heat[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        return heat / heat.max() if heat.max() > 0 else heat


@pytest.mark.parametrize("simulator", ["lightning", "dense", "qnode"])
def test_it_is_what_finite_differences_say(small, images, simulator):
    head = quantum_head(6, simulator=simulator).double()
    maps = last_maps(small.float(), 24, "small")
    assert maps == Maps("second", 1, (2, 3))
    small.double()
    warmest = 0
    for label in (0, 1):
        found = grad_cam(small, head, maps, images, torch.full((5,), label))
        for image, heat in zip(images, found, strict=True):
            assert heat.numpy() == pytest.approx(by_finite_differences(small, head, image, label).numpy(), abs=1e-6)
            warmest += int(heat.max() == 1)
    assert warmest >= 5


def test_each_image_is_explained_for_its_own_class_whatever_lies_beside_it(small, images):
    head, maps = quantum_head(6, 4).double(), Maps("second", 1, (2, 3))
    labels = torch.tensor([0, 3, 1, 2, 3])
    together = grad_cam(small, head, maps, images, labels)
    for row in range(5):
        alone = grad_cam(small, head, maps, images[row : row + 1], labels[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])
    assert not torch.allclose(together, grad_cam(small, head, maps, images, (labels + 1) % 4))


def test_where_nothing_speaks_for_a_class_the_map_is_empty(small, images):
    against = nn.Linear(6, 2).double()
    with torch.no_grad():
        against.weight.copy_(torch.tensor([[-1.0] * 6, [1.0] * 6]))
        small.second.bias.fill_(100)
    found = grad_cam(small, against, Maps("second", 1, (2, 3)), images, torch.zeros(5, dtype=torch.int64))
    assert found.abs().max() == 0


def test_the_network_stays_as_it_was(small, images):
    head = quantum_head(6).double()
    before = head(small(images))
    grad_cam(small, head, Maps("second", 1, (2, 3)), images, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(head(small(images)), before)
    assert all(parameter.grad is None for parameter in (*small.parameters(), *head.parameters()))


# Networks of several kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side", "maps"),
    [
        ("resnet18", 224, Maps("layer4", 1, (2, 3))),
        ("densenet121", 224, Maps("features", 1, (2, 3))),
        ("swin_t", 224, Maps("permute", 1, (2, 3))),
        ("convnext_tiny", 224, Maps("features", 1, (2, 3))),
    ],
)
def test_the_last_maps_of_a_network(name, side, maps):
    assert last_maps(get_model(name, weights=None).eval(), side, name) == maps


def test_a_network_of_tokens_has_none():
    with pytest.raises(InputError, match=r"vit_b_32 gives no maps of its pictures at its end, .* leave out --explain"):
        last_maps(get_model("vit_b_32", weights=None).eval(), 224, "vit_b_32")


def test_of_a_network_that_is_cut_the_maps_are_those_of_the_layer(random_weights):
    whole, cut = (load_backbone("resnet18", str(random_weights), layers) for layers in ((), ("layer3",)))
    assert last_maps(cut.model, 224, "resnet18").at == "network.layer3"
    assert (
        last_maps(load_backbone("resnet18", str(random_weights), ["fc"]).model, 224, "resnet18").at == "network.layer4"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224), np.uint8)
    head = nn.Linear(256, 2)
    heat = GradCAM(cut, head)(pixels, 1)
    # By hand: its maps, weighed by the head's own weights, because the row is their mean.
    kept = []
    whole.model.layer3.register_forward_hook(lambda *called: kept.append(called[-1]))
    with torch.no_grad():
        whole.model(whole.preprocess.normalise(torch.from_numpy(pixels))[None])
        by_hand = torch.einsum("c,chw->hw", head.weight[1], kept[0][0]).clamp(min=0)
    by_hand = interpolate(by_hand[None, None], (224, 224), mode="bilinear", align_corners=False)[0, 0]
    assert heat == pytest.approx((by_hand / by_hand.max()).numpy(), abs=1e-5)
    assert heat.dtype == np.float32


def test_channels_that_come_last_and_a_module_that_runs_twice():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.mix = nn.Conv2d(3, 5, 4, stride=4), nn.Linear(5, 5)

        def forward(self, images):
            maps = self.mix(torch.relu(self.mix(self.patch(images).permute(0, 2, 3, 1))))
            return maps.mean((1, 2))

    torch.manual_seed(0)
    network, head = Last().eval(), nn.Linear(5, 2)
    images = torch.randn(2, 3, 24, 24)
    maps = last_maps(network, 24, "last")
    assert maps == Maps("mix", 2, (1, 2))
    found = grad_cam(network, head, maps, images, torch.tensor([0, 1]))
    with torch.no_grad():
        at = network.mix(torch.relu(network.mix(network.patch(images).permute(0, 2, 3, 1))))
        heat = torch.einsum("bhwc,bc->bhw", at, head.weight).clamp(min=0)
        heat = interpolate(heat[:, None], (24, 24), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found, heat / heat.amax((1, 2), keepdim=True))
    # The same network, cut behind those maps.
    network_of = Network(model=copy.deepcopy(network), head_at="", width=5, translate=dict)
    cut = CutNetwork(network_of.model, chosen(outputs(network_of, 24), ["mix"], "last")).eval()
    again = grad_cam(cut, head, last_maps(cut, 24, "cut"), images, torch.tensor([0, 1]))
    torch.testing.assert_close(again, found)


# Adebayo et al., "Sanity Checks for Saliency Maps" (2018): do maps depend on what was learned? -----------------------


def likeness(network, head, other_network, other_head, maps, images, labels):
    """The mean rank correlation of two networks' maps, over images of which both show something."""
    one, other = (
        grad_cam(each, of, maps, images, labels).flatten(1).numpy()
        for each, of in ((network, head), (other_network, other_head))
    )
    return np.mean([spearmanr(a, b)[0] for a, b in zip(one, other, strict=True) if a.any() and b.any()])


def test_random_weights_give_other_maps(small, images):
    maps, labels = Maps("second", 1, (2, 3)), torch.tensor([0, 1, 0, 1, 0])
    head = quantum_head(6).double()
    found = {"head": [], "block": []}
    for seed in range(20):
        torch.manual_seed(seed)
        other_head, other_network = copy.deepcopy(head), copy.deepcopy(small)
        other_head.pre_net.reset_parameters()
        nn.init.normal_(other_head.q_params)
        other_head.post_net.reset_parameters()
        other_network.second.reset_parameters()
        found["head"].append(likeness(small, head, small, other_head, maps, images, labels))
        found["block"].append(likeness(small, head, other_network, head, maps, images, labels))
    assert likeness(small, head, copy.deepcopy(small), copy.deepcopy(head), maps, images, labels) > 0.999
    assert {part: abs(np.mean(values)) < 0.4 for part, values in found.items()} == {"head": True, "block": True}


@pytest.mark.slow
def test_on_real_pictures_the_maps_are_those_of_the_trained_weights(shared_data, shared_weights, tmp_path):
    run = train(TrainConfig(features=PACKAGED, out=tmp_path / "run")).path
    network = HybridClassifier.load(run, weights=str(shared_weights))
    files = sorted((shared_data / "val").rglob("*.jpg"))[::8]
    pixels = np.stack([network.transforms.pixels(decode(file.read_bytes())) for file in files])
    images = network.transforms.normalise(torch.from_numpy(pixels))
    with torch.no_grad():
        labels = network(images).argmax(dim=1)
    maps = last_maps(network.backbone, 224, "resnet18")

    def like(other_network, other_head):
        return likeness(network.backbone, network.head, other_network, other_head, maps, images, labels)

    # The same head trained from another seed looks at the same places; an untrained one, or another last block, not.
    another = train(TrainConfig(features=PACKAGED, out=tmp_path / "another", seed=7))
    untrained, block = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        untrained.append(like(network.backbone, DressedQuantumNet()))
        other = copy.deepcopy(network.backbone)
        for module in other.layer4[1].modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        block.append(like(other, network.head))
    trained = like(network.backbone, another.head())
    assert trained > 0.7
    assert np.mean(untrained) < trained - 0.4
    assert np.mean(block) < trained - 0.4
