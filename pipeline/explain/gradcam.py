"""Where a network looks: Grad-CAM of its last maps, through the head behind it, be it classical or a quantum circuit.

In: a backbone, a head, and images as the backbone takes them. Out: for each image, how much each of its pixels speaks
for a class. The gradient of the class's logit with respect to the maps is averaged over their places; these averages
weigh the maps in a sum, of which the positive part is laid over the image.

References:
    R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    2017 (arXiv:1610.02391), equations 1 and 2. Of a network with a quantum head: arXiv:2408.05899.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from features.backbone.network import Backbone
from features.util.errors import InputError


@dataclass(frozen=True)
class Maps:
    """The last maps of a network.

    Attributes:
        at: Dotted name of the module that gives them.
        calls: How often it runs for a batch; its last output counts.
        axes: Of height and width: (2, 3), or (1, 2) where the channels come last, as in Swin.
    """

    at: str
    calls: int
    axes: tuple[int, int]


def last_maps(network: nn.Module, side: int, name: str) -> Maps:
    """Find the last maps of a network: those of its last convolution, or of the block around it.

    Args:
        network: (B, 3, side, side) → (B, width), in eval mode.
        side: Pixels a side of its images.
        name: What messages call it.

    Raises:
        InputError: if it has none, or makes tokens of them, as a vision transformer does.
    """
    ended: list[str] = []
    found: Maps | None = None

    def look(at: str, output: Any) -> None:
        nonlocal found
        ended.append(at)
        if not isinstance(output, Tensor):
            return
        match tuple(output.shape):
            case (2, _, height, width) if height == width > 1:
                found = Maps(at, 0, (2, 3))
            case (2, height, width, _) if height == width > 1:
                found = Maps(at, 0, (1, 2))
            case (2, _, _):
                found = None

    with _watching(network, [at for at, _ in network.named_modules() if at], look), torch.no_grad():
        network(torch.zeros(2, 3, side, side, device=next(network.parameters()).device))
    if found is None:
        raise InputError(
            f"{name} gives no maps of its pictures at its end, so Grad-CAM can't say where it looks; take a network "
            "that does, such as resnet18, convnext_tiny or swin_t, or leave out --explain"
        )
    return replace(found, calls=ended.count(found.at))


class GradCAM:
    """Where a network looks on a picture.

    Args:
        backbone: The backbone, on the CPU.
        head: (B, width) → (B, n_classes).

    Attributes:
        maps: The backbone's last maps.

    Raises:
        InputError: if it has none.
    """

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        self.maps = last_maps(backbone.model, backbone.preprocess.crop, backbone.name)
        self._backbone, self._head = backbone, head

    def __call__(self, pixels: np.ndarray, label: int) -> np.ndarray:
        """The heat (H, W), from 0 to 1, of pixels (3, H, W), uint8, for a class; zeros where nothing speaks for it."""
        images = self._backbone.preprocess.normalise(torch.from_numpy(pixels)[None])
        return grad_cam(self._backbone.model, self._head, self.maps, images, torch.tensor([label]))[0].numpy()


def grad_cam(backbone: nn.Module, head: nn.Module, maps: Maps, images: Tensor, classes: Tensor) -> Tensor:
    """Compute how much each pixel speaks for a class.

    Args:
        backbone: (B, 3, H, W) → (B, width), in eval mode.
        head: (B, width) → (B, n_classes).
        maps: The backbone's last maps.
        images: Shape (B, 3, H, W), float32.
        classes: The class of each image, (B,), int64.

    Returns:
        The heat (B, H, W), float32 from 0 to 1: 1 is each image's hottest pixel. An image in which nothing speaks for
        the class has zeros only.
    """
    runs: list[Tensor] = []

    def keep(_: str, output: Tensor) -> Tensor | None:
        # Of the whole network only what lies behind the maps is differentiated, and the network may change its own
        # tensor in place.
        runs.append(output.detach())
        return runs[-1].requires_grad_().clone() if len(runs) == maps.calls else None

    with _watching(backbone, [maps.at], keep), torch.enable_grad():
        logits = head(backbone(images)).gather(1, classes[:, None])
        [gradient] = torch.autograd.grad(logits.sum(), runs[-1])
    channels = 1 if maps.axes == (2, 3) else 3
    weights = gradient.mean(maps.axes, keepdim=True)
    heat = (weights * runs[-1].detach()).sum(channels).relu()
    heat = interpolate(heat[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    hottest = heat.amax((1, 2), keepdim=True)
    return torch.where(hottest > 0, heat / hottest, 0.0)


@contextmanager
def _watching(network: nn.Module, names: Sequence[str], look: Callable[[str, Any], Any]) -> Iterator[None]:
    """Call ``look`` with the name and the output of each of these modules; what it returns replaces the output."""
    # Before other hooks: that of a network that is cut ends the pass.
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: look(name, output), prepend=True
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
