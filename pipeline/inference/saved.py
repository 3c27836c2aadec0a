"""A whole network in a folder: its weights as they are now, fine-tuned or not, and all that builds it again.

In: a configuration and tensors. Out: ``model.safetensors``, the tensors with the configuration among its metadata, and
``config.json``, the same configuration for readers. The first one alone is the network, so that a kill at any moment
leaves the earlier network or the new one. Needs neither the run nor the files that it came from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from features.backbone.network import Backbone, restore_backbone
from features.util.errors import InputError, first_line
from features.util.files import write_atomically, write_text
from features.util.provenance import tensors_sha256
from pipeline.training.names import HEAD
from pipeline.training.record import RunRecord
from pipeline.training.run import Run

MODEL, CONFIG = "model.safetensors", "config.json"
FORMAT = "quantum-transfer network"
FORMAT_VERSION = 1

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class SavedNetwork:
    """What a folder holds.

    Attributes:
        folder: Where.
        config: All but the tensors: ``format`` and version, ``classes``, the ``backbone`` as :meth:`Backbone.record`
            describes it, the ``sha256`` of the tensors of backbone and head, what was ``fine_tuned`` of these two, and
            the ``provenance`` with the record of the run.
        parts: The tensors of ``backbone`` and ``head``.
    """

    folder: Path
    config: dict[str, Any]
    parts: Mapping[str, State] = field(repr=False)

    def run(self) -> Run:
        """The run with the saved head as its only one, in the place of each epoch."""
        record = RunRecord.from_record(self.config["provenance"]["run"])
        head = dict(self.parts["head"])
        return Run(path=self.folder, weights=dict.fromkeys(record.epochs, head), history=[], **vars(record))

    def backbone(self) -> Backbone:
        """The backbone with the saved tensors."""
        return restore_backbone(self.config["backbone"], self.parts["backbone"])


def holds_network(folder: Path) -> bool:
    """Whether a folder holds a saved network, or something of its names that is to be refused, and no run."""
    return not (folder / HEAD).exists() and any((folder / name).is_file() for name in (MODEL, CONFIG))


def save_network(
    folder: Path, config: dict[str, Any], parts: Mapping[str, State], check: Callable[[SavedNetwork], None]
) -> None:
    """Write a network into a folder, in the place of one that was saved there.

    Args:
        folder: Made where it is missing; other files in it stay.
        config: All but the tensors, as JSON.
        parts: The tensors of ``backbone`` and ``head``.
        check: Called with what was written, before it takes its place.

    Raises:
        InputError: if something else is there, and what ``check`` raises; then nothing has changed.
    """
    refuse_others(folder)
    # Contiguous copies, because safetensors takes no tensors that share memory.
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, state in parts.items()
        for name, tensor in state.items()
    }

    def write(part: Path) -> None:
        try:
            save_file(tensors, part, {"format": "pt", "config": json.dumps(config, ensure_ascii=False)})
        except SafetensorError as error:  # of a full disk too
            raise InputError(f"{folder} can't be written ({first_line(error)}); nothing was changed") from error
        check(_read(folder, part))
        # A kill from here on leaves no configuration, or that of what is there.
        (folder / CONFIG).unlink(missing_ok=True)

    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(folder / MODEL, write)
    except BaseException:
        if made:
            folder.rmdir()
        raise
    write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def refuse_others(folder: Path) -> None:
    """Raise an InputError if a folder holds a run, or files of these names that ``save`` did not write."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder")
    if (folder / HEAD).exists():
        raise InputError(f"{folder} holds a run; name another folder for the whole network")
    if holds_network(folder):
        try:
            configuration(folder / MODEL)
        except InputError as error:
            raise InputError(f"{error}. Nothing was changed; name another folder, or delete that file") from error


def read_network(folder: Path) -> SavedNetwork:
    """Read what :func:`save_network` wrote.

    Raises:
        InputError: if it is missing, damaged, of an unknown version, or not what ``save`` wrote.
    """
    saved = _read(folder, folder / MODEL)
    beside = folder / CONFIG
    try:
        same = not beside.exists() or json.loads(beside.read_text(encoding="utf-8")) == saved.config
    except (OSError, ValueError):
        same = False
    if not same:
        raise InputError(
            f"{beside} is not the configuration in {folder / MODEL}, which counts: it was changed, or is another "
            "network's; put it back, or delete it"
        )
    damaged = [part for part, state in saved.parts.items() if tensors_sha256(state) != saved.config["sha256"][part]]
    if damaged:
        raise InputError(f"{folder / MODEL} is damaged: the {' and the '.join(damaged)} is not what was saved")
    return saved


def without_places(provenance: dict[str, Any]) -> dict[str, Any]:
    """A provenance with the names of files in place of their paths, which say nothing elsewhere but where they were."""
    run = provenance["run"]
    config, features, circuit = dict(run["config"]), dict(run["features"]), run["circuit"]
    for record, names in ((config, ("features", "out", "circuit")), (features, _PLACES)):
        record |= {name: Path(record[name]).name for name in names}
    if circuit is not None:
        circuit = circuit | {"name": Path(circuit["name"]).name}
    return provenance | {"run": run | {"config": config, "features": features, "circuit": circuit}}


_PLACES = ("path", "data_location", "weights_location")


def configuration(file: Path) -> dict[str, Any]:
    """The configuration among the metadata of a file."""
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}, which holds the weights; was the whole folder copied?")
    try:
        with safe_open(file, framework="pt") as opened:
            config = json.loads((opened.metadata() or {}).get("config", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({first_line(error)}); copy or save it again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{file} was not written by HybridClassifier.save; name a folder that was, or that of a run")
    if config.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{file} has format version {config.get('format_version')}, this program reads {FORMAT_VERSION}; "
            "update the program"
        )
    return config


def _read(folder: Path, file: Path) -> SavedNetwork:
    config = configuration(file)
    parts: dict[str, dict[str, torch.Tensor]] = {"backbone": {}, "head": {}}
    with safe_open(file, framework="pt") as opened:
        for key in opened.keys():  # noqa: SIM118
            part, _, name = key.partition(".")
            # In memory of its own: a tensor within a file lies at any address, where products may round otherwise.
            parts[part][name] = opened.get_tensor(key).clone()
    return SavedNetwork(folder=folder, config=config, parts=parts)
