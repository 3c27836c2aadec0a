"""Layers of a network by name: what each gives, and the network cut behind those that are wanted.

In: a :class:`features.backbone.library.Network` and dotted names. Out: a :class:`CutNetwork`, (B, 3, H, W) →
(B, width), whose columns are the pooled outputs of the layers, side by side.

A layer's output becomes one row: maps by the mean over their places, tokens by the class token where there is one (it
is what such a network reads itself), else by the mean over all of them. Of a module that runs several times for a
picture, its last output counts; of one that gives several outputs, the first.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from features.backbone.library import Network
from features.backbone.record import Layer
from features.util.errors import InputError, did_you_mean, listing

# What the libraries call the parameter behind a network's class token.
CLASS_TOKENS = {"class_token", "cls_token", "class_embedding"}


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a module of a network gives for a picture, and how that becomes a row.

    Attributes:
        at: Its dotted name in ``Network.model``.
        shape: Of the output for one picture.
        calls: How often the module runs for a batch.
        layer: Its name to users and its pooling; None where the output can't be pooled.
        axes: The axes over which the mean is taken.
        width: Features in a row.
    """

    at: str
    shape: tuple[int, ...]
    calls: int
    layer: Layer | None = None
    axes: tuple[int, ...] = ()
    width: int = 0

    def pooled(self, output: Any) -> Tensor:
        """The rows, (B, width), of a batch; a copy, because the network may change its own tensor later."""
        tensor = _first(output)
        assert tensor is not None
        assert self.layer is not None
        if self.layer.pooling == "class token":
            return tensor[:, 0].clone()
        return tensor.mean(self.axes) if self.axes else tensor.clone()


def outputs(network: Network, side: int) -> dict[str, Output]:
    """The output of each module that runs for a picture, by its name to users, in the order in which they end.

    Args:
        network: The network, which need not have values yet: parameters without memory are given zeros.
        side: Pixels a side of its pictures.
    """
    model = network.model.eval()
    empty = {name: torch.zeros(each.shape) for name, each in model.named_parameters() if each.is_meta}
    model.load_state_dict(empty, strict=False, assign=True)
    seen: dict[str, tuple[int, Tensor | None]] = {}

    def look(at: str, *called: Any) -> None:
        seen[at] = (seen[at][0] + 1 if at in seen else 1, _first(called[-1]))

    handles = [module.register_forward_hook(partial(look, at)) for at, module in model.named_modules() if at]
    try:
        with torch.no_grad():
            model(torch.zeros(2, 3, side, side))
    finally:
        for handle in handles:
            handle.remove()
    with_token = any(name.rpartition(".")[2] in CLASS_TOKENS for name, _ in model.named_parameters())
    found: dict[str, Output] = {}
    for at, (calls, tensor) in seen.items():
        name = at.removeprefix(network.prefix)
        if name and tensor is not None and name not in found:
            found[name] = _output(at, name, tensor, calls, with_token)
    return found


def _output(at: str, name: str, tensor: Tensor, calls: int, with_token: bool) -> Output:
    shape = tuple(tensor.shape)
    seen = Output(at=at, shape=shape[1:], calls=calls)
    axes: tuple[int, ...] | None = None
    if len(shape) < 2 or shape[0] != 2 or not tensor.is_floating_point():
        return seen
    match shape[1:]:
        case (_,):
            axes = ()
        case (_, _):
            axes = (1,)
        case (_, height, width) if height == width:
            axes = (2, 3)
        case (height, width, _) if height == width:  # channels last, as Swin has them
            axes = (1, 2)
    if axes is None:
        return seen
    # The patches of a square picture are a square number of tokens; the class token comes before them.
    token = axes == (1,) and with_token and math.isqrt(shape[1]) ** 2 != shape[1]
    layer = Layer(name=name, pooling="class token" if token else "mean" if axes else "none")
    columns = {(): 1, (1,): 2, (2, 3): 1, (1, 2): 3}[axes]
    return Output(at=at, shape=shape[1:], calls=calls, layer=layer, axes=axes, width=shape[columns])


def _first(output: Any) -> Tensor | None:
    """The first tensor that a module gave."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)) and output:
        return _first(output[0])
    return output if isinstance(output, Tensor) else None


def chosen(found: Mapping[str, Output], names: Sequence[str], architecture: str) -> list[Output]:
    """The outputs of the named layers.

    Raises:
        InputError: for a name that no layer has, or an output that is neither maps, nor tokens, nor a row a picture.
    """
    for name in names:
        if name not in found:
            outermost = sorted((each for each in found if found[each].layer), key=lambda each: each.count("."))
            raise InputError(
                f"--layer {name} is no layer of {architecture} that a picture passes{did_you_mean(name, found)}; it "
                f"has these, and --list-layers says what each gives:\n{listing(outermost)}"
            )
        if found[name].layer is None:
            raise InputError(
                f"--layer {name} of {architecture} gives {_sizes(found[name])} a picture, which can't be made a row; a "
                "layer gives square maps, tokens or a row for each picture: --list-layers lists those that do"
            )
    return [found[name] for name in names]


def table(found: Mapping[str, Output]) -> str:
    """The layers that can be taken, a line each, in the order in which a picture passes them."""
    kept = {name: output for name, output in found.items() if output.layer}
    width = max(map(len, (*kept, "layer")))
    lines = [f"{'layer':{width}} {'gives':>15} {'features':>8}  pooling"]
    for name, output in kept.items():
        assert output.layer is not None
        lines.append(f"{name:{width}} {_sizes(output):>15} {output.width:8}  {output.layer.pooling}")
    return "\n".join(lines)


def _sizes(output: Output) -> str:
    return " × ".join(map(str, output.shape))


class CutNetwork(nn.Module):
    """(B, 3, H, W) → (B, width): the pooled outputs of layers, side by side. What lies behind the last does not run.

    Args:
        network: The whole network.
        taps: The layers' outputs.
    """

    def __init__(self, network: nn.Module, taps: Sequence[Output]) -> None:
        super().__init__()
        self.network = network
        self.taps = tuple(taps)
        for tap in taps:
            network.get_submodule(tap.at).register_forward_hook(_Tap(tap))

    def forward(self, images: Tensor) -> Tensor:
        """The rows of a batch; may be called from several threads."""
        collected = _Collected(calls={tap.at: tap.calls for tap in self.taps})
        _THREAD.collected = collected
        try:
            self.network(images)
        except _AllCollectedError:
            pass
        finally:
            _THREAD.collected = None
        rows = [collected.rows[tap.at] for tap in self.taps]
        return torch.cat(rows, dim=1) if len(rows) > 1 else rows[0]

    def only(self, names: Sequence[str]) -> Self:
        """The same network, cut behind some of its layers."""
        cut = copy.copy(self)
        cut.taps = tuple(tap for tap in self.taps if tap.layer and tap.layer.name in names)
        return cut


@dataclass
class _Collected:
    """What one forward pass has collected.

    Attributes:
        calls: How often each wanted module has still to run, by its name.
        rows: The pooled outputs.
    """

    calls: dict[str, int]
    rows: dict[str, Tensor] = field(default_factory=dict)


class _AllCollectedError(Exception):
    """Ends a forward pass that has gone as far as it needs to."""


class _Tap:
    """A forward hook that collects a layer's output for the pass of its thread; copies and pickles with its module."""

    def __init__(self, tap: Output) -> None:
        self.tap = tap

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002  # torch calls it so
        collected: _Collected | None = getattr(_THREAD, "collected", None)
        if collected is None or self.tap.at not in collected.calls:
            return
        collected.calls[self.tap.at] -= 1
        if collected.calls[self.tap.at]:
            return
        collected.rows[self.tap.at] = self.tap.pooled(output)
        if len(collected.rows) == len(collected.calls):
            raise _AllCollectedError


_THREAD = threading.local()
