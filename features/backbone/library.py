"""The seam of all libraries of networks: a :class:`Library` names its networks and their weights, and builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class NamedWeights:
    """Weights that a library knows by name.

    Attributes:
        preset: How their images are prepared: makes an object with the attributes of torchvision's presets.
        fetch: Their ``state_dict``; raises DownloadError.
    """

    preset: Callable[[], Any]
    fetch: Callable[[], State]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network without its layer of classes, and without values.

    Attributes:
        model: (B, 3, H, W) float32 → (B, width) float32.
        head_at: Dotted name of the identity in place of that layer: where a head goes.
        width: Features an image.
        translate: Gives a file's tensors the model's names and dtypes, and leaves out those that the model doesn't use.
        prefix: What stands in ``model`` before the names that the library gives to its layers.
        architecture: What ``Library.rebuild`` builds it from again, as JSON; None where its name says it all.
    """

    model: nn.Module
    head_at: str
    width: int
    translate: Callable[[State], State]
    prefix: str = ""
    architecture: dict[str, Any] | None = None


def in_precision_of(wanted: State, state: State) -> dict[str, Tensor]:
    """Tensors in the dtypes that a model's own have; those that it has not stay, for a message to name."""
    return {
        key: tensor.to(wanted[key].dtype).contiguous() if key in wanted else tensor for key, tensor in state.items()
    }


@dataclass(frozen=True, kw_only=True)
class Library:
    """One library of networks.

    Attributes:
        title: Its name, for messages.
        names: Its networks; None where any name may be one.
        weights: The named weights of one of them, the oldest first; there is at least one.
        build: One of them, for square images of so many pixels a side.
        folder: The weights of one of them in a folder of the library's own format; None where there is no such format.
        rebuild: One of them from its ``Network.architecture``, where that is recorded.
        note: What stands in the list of networks in place of their names, where these are too many.
    """

    title: str
    names: Callable[[], list[str]] | None
    weights: Callable[[str], dict[str, NamedWeights]]
    build: Callable[[str, int], Network]
    folder: Callable[[str, Path], NamedWeights] | None = None
    rebuild: Callable[[dict[str, Any], int], Network] | None = None
    note: str = ""
