"""The frozen backbone: the registry of libraries, and a network of theirs with its preprocessing and its fingerprint.

In: the name of a network, and that of weights, or a file of them. Out: a :class:`Backbone`, images of shape
(B, 3, H, W) → features of shape (B, width), float32.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from features.backbone.huggingface_models import HUGGING_FACE
from features.backbone.layers import CutNetwork, chosen, outputs, table
from features.backbone.library import Library, NamedWeights, Network, State
from features.backbone.preprocess import Preprocess
from features.backbone.record import Layer
from features.backbone.timm_models import TIMM
from features.backbone.torchvision_models import TORCHVISION
from features.util.errors import InputError, did_you_mean, first_line, listing
from features.util.provenance import tensors_sha256

DEFAULT, DEFAULT_WEIGHTS = "resnet18", "IMAGENET1K_V1"
# A further library is a module like that of torchvision, and an entry here: its networks are called `prefix:name`.
LIBRARIES: dict[str, Library] = {"": TORCHVISION, "timm": TIMM, "hf": HUGGING_FACE}


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A frozen feature extractor.

    Attributes:
        name: What ``--backbone`` calls it.
        model: In eval mode: (B, 3, H, W) float32 → (B, width) float32. Its last layer is replaced by the identity, or
            it is cut behind the layers that were asked for.
        head_at: Dotted name of that identity: where a head goes; empty where the network is cut.
        widths: Features an image, of each layer; of the network's own features, one number.
        layers: The layers that were asked for; none for the network's own features.
        preprocess: From a PIL image to a (3, H, W) float32 tensor: resize, centre crop, normalise.
        transform: Canonical JSON of the preprocessing's parameters.
        weights: Name of the weights: the library's, or the file's.
        weights_sha256: Fingerprint of the tensors in use; see :func:`features.util.provenance.tensors_sha256`.
        architecture: What its library builds it from again, as JSON; None where its name says it all.
    """

    name: str
    model: nn.Module
    head_at: str
    widths: tuple[int, ...]
    layers: tuple[Layer, ...] = ()
    preprocess: Preprocess
    transform: str
    weights: str
    weights_sha256: str
    architecture: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """All but the network itself, as JSON: with :meth:`tensors`, :func:`restore_backbone` makes it again."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["model"], values["preprocess"]
        return values | {"widths": list(self.widths), "layers": [asdict(layer) for layer in self.layers]}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the whole network, also where it is cut."""
        return (self.model.network if isinstance(self.model, CutNetwork) else self.model).state_dict()

    @property
    def width(self) -> int:
        """Features an image, of all layers together."""
        return sum(self.widths)

    @property
    def layer(self) -> Layer | None:
        """The one layer that was asked for; None for the network's own features."""
        assert len(self.layers) < 2, "the features of several layers are no one layer's"
        return self.layers[0] if self.layers else None

    def only(self, names: Sequence[str]) -> Self:
        """The same network with the features of some of its layers, cut behind the last of these."""
        if not isinstance(self.model, CutNetwork):
            return self
        kept = [(layer, width) for layer, width in zip(self.layers, self.widths, strict=True) if layer.name in names]
        layers, widths = zip(*kept, strict=True)
        return replace(self, model=self.model.only(names), layers=layers, widths=widths)


def load_backbone(backbone: str, weights: str, layers: Sequence[str] = ()) -> Backbone:
    """A network with the given weights, without its layer of classes, frozen and in eval mode.

    Args:
        backbone: One of :func:`backbone_names`.
        weights: One of :func:`weight_names`, or the path of a ``state_dict`` (.pth, .pt or .safetensors), or of a
            folder of the library's own format. Its classification layer may have any number of classes or be absent,
            and so may auxiliary classifiers: they are not used. A file's images are prepared as for the first of the
            named weights, which ``DEFAULT_WEIGHTS`` stands for in all libraries but torchvision.
        layers: Names of layers, as :func:`list_layers` lists them, whose pooled outputs are wanted side by side;
            without any, the network's own features.

    Raises:
        DownloadError: if named weights can't be had.
        InputError: if a name is unknown, or the file is missing, unreadable or of another architecture.
    """
    library, name = _found(backbone)
    weights, wanted = _wanted(library, name, weights)
    preprocess = Preprocess(wanted.preset())
    state = wanted.fetch()
    network = library.build(name, preprocess.crop)
    return _frozen(backbone, network, state, preprocess, weights, layers)


def restore_backbone(record: Mapping[str, Any], state: State) -> Backbone:
    """A network that :meth:`Backbone.record` described, with tensors that may have been trained further since.

    Raises:
        InputError: if its library is not installed, does not know it, or builds it of other tensors.
        KeyError, ValueError: if something is missing in the record.
    """
    library, name = _found(record["name"])
    preprocess = Preprocess.described(record["transform"])
    architecture = record["architecture"]
    if architecture is not None and library.rebuild is not None:
        network = library.rebuild(architecture, preprocess.crop)
    else:
        network = library.build(name, preprocess.crop)
    return _frozen(
        record["name"], network, state, preprocess, record["weights"], [each["name"] for each in record["layers"]]
    )


def backbone_names() -> list[str]:
    """All networks of the libraries that list theirs."""
    listed = ((prefix, library) for prefix, library in LIBRARIES.items() if not library.note)
    return [f"{prefix}:{name}".lstrip(":") for prefix, library in listed for name in (library.names or list)()]


def weight_names(backbone: str) -> list[str]:
    """The named weights of a network, the oldest first.

    Raises:
        InputError: if there is no such network.
    """
    library, name = _found(backbone)
    return list(library.weights(name))


def is_named(backbone: str, weights: str) -> bool:
    """Whether these are weights that the network's library knows by name; else they are a file.

    Raises:
        InputError: if there is no such network.
    """
    library, name = _found(backbone)
    known = library.weights(name)
    return _full_name(library, weights, known) in known


def list_backbones() -> str:
    """A table of all networks: width, image size, millions of parameters without the layer of classes, weights."""
    lines = [f"{'backbone':20} {'features':>8} {'pixels':>6} {'parameters':>10}  weights"]
    for backbone in backbone_names():
        library, name = _found(backbone)
        known = library.weights(name)
        crop = Preprocess(next(iter(known.values())).preset()).crop
        network = library.build(name, crop)
        millions = sum(parameter.numel() for parameter in network.model.parameters()) / 1e6
        lines.append(f"{backbone:20} {network.width:8} {crop:6} {millions:8.1f} M  {', '.join(known)}")
    return "\n".join(
        [*lines, *(f"{prefix}:{'NAME':15} {each.note}" for prefix, each in LIBRARIES.items() if each.note)]
    )


def list_layers(backbone: str, weights: str) -> str:
    """A table of a network's layers and of what each gives; its weights are not read.

    Raises:
        InputError: if there is no such network.
    """
    library, name = _found(backbone)
    side = Preprocess(_wanted(library, name, weights)[1].preset()).crop
    return table(outputs(library.build(name, side), side))


def _frozen(
    backbone: str,
    network: Network,
    state: State,
    preprocess: Preprocess,
    weights: str,
    layers: Sequence[str],
) -> Backbone:
    """A network with these tensors, in eval mode, cut behind the last of the layers where there are any."""
    library, name = _found(backbone)
    architecture = f"{library.title}'s {name}"
    state = network.translate(state)
    _refuse_other_architecture(network.model, state, architecture, weights)
    network.model.load_state_dict(state, strict=True, assign=True)
    network.model.eval().requires_grad_(False)
    taps = chosen(outputs(network, preprocess.crop), layers, architecture) if layers else []
    return Backbone(
        name=backbone,
        model=CutNetwork(network.model, taps).eval() if taps else network.model,
        head_at="" if taps else network.head_at,
        widths=tuple(tap.width for tap in taps) or (network.width,),
        layers=tuple(tap.layer for tap in taps if tap.layer),
        preprocess=preprocess,
        transform=preprocess.description,
        weights=Path(weights).name,
        weights_sha256=tensors_sha256(network.model.state_dict()),
        architecture=network.architecture,
    )


def _wanted(library: Library, name: str, weights: str) -> tuple[str, NamedWeights]:
    """The weights that were asked for, by their full name or their place: named ones, or those on the disk."""
    known = library.weights(name)
    weights = _full_name(library, weights, known)
    return weights, known.get(weights) or _from_disk(library, name, Path(weights).expanduser(), known)


def _full_name(library: Library, weights: str, known: Collection[str]) -> str:
    """The first weights where the default is asked for, whose name is torchvision's, of another library."""
    return next(iter(known)) if weights == DEFAULT_WEIGHTS and library is not TORCHVISION else weights


def _from_disk(library: Library, name: str, path: Path, known: Mapping[str, NamedWeights]) -> NamedWeights:
    """The weights in a file, or in a folder of the library's own format."""
    if library.folder is not None and path.is_dir():
        return library.folder(name, path)
    first = next(iter(known.values()))
    return NamedWeights(
        preset=first.preset, fetch=lambda: _read_state_dict(path, f"{library.title}'s {name}", list(known))
    )


def _found(backbone: str) -> tuple[Library, str]:
    """The library of a network, and the network's name there."""
    before, colon, after = backbone.partition(":")
    prefix, name = (before, after) if colon else ("", backbone)
    library = LIBRARIES.get(prefix)
    if library is None or not name or (library.names is not None and name not in library.names()):
        hint = did_you_mean(backbone.lower().replace("-", "_"), backbone_names())
        title = library.title if library else " or ".join(each.title for each in LIBRARIES.values())
        raise InputError(
            f"{backbone} is no classification model of {title}; --backbone (make: BACKBONE=) takes one of those that "
            f"`python -m features --list-backbones` lists{hint}"
        )
    return library, name


def _read_state_dict(file: Path, architecture: str, names: list[str]) -> State:
    if not file.is_file():
        raise InputError(
            f"{file} is neither a file nor one of {architecture} weights ({', '.join(names)}); "
            f"--weights (make: WEIGHTS=) takes a file or one of these names{did_you_mean(str(file), names)}"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file} holds more than tensors, and code in it is never run; "
            "save the weights alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        raise InputError(f"{file} can't be read as weights ({first_line(error)}); is it whole?") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(
            f"{file} is no `state_dict` (a flat mapping of names to tensors); save one: "
            "torch.save(model.state_dict(), FILE)"
        )
    return state


def _refuse_other_architecture(model: nn.Module, state: State, architecture: str, weights: str) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in state.items()}
    problems = [f"missing: {key}" for key in wanted if key not in given]
    problems += [f"unexpected: {key}" for key in given if key not in wanted]
    problems += [
        f"{key}: shape {given[key]} instead of {wanted[key]}"
        for key in wanted
        if key in given and given[key] != wanted[key]
    ]
    if problems:
        raise InputError(
            f"{weights} holds no weights of {architecture}: {len(problems)} tensors differ:\n"
            f"{listing(problems)}\nGive a state_dict of {architecture}, or name its own --backbone."
        )
