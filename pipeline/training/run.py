"""A finished run in memory: its record, its weights, its history; read from a folder and written to one.

``head.safetensors`` holds the weights of the last and of the best epoch and a copy of the record, ``run.json`` the
record, ``history.jsonl`` a line an epoch. :mod:`pipeline.training.folder` says how a folder comes into its place.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from features.util.errors import InputError
from features.util.files import write_bytes, write_text
from pipeline.heads.base import Head
from pipeline.heads.registry import new_head
from pipeline.training.checkpoint import State
from pipeline.training.folder import RunFolder
from pipeline.training.names import HEAD, HISTORY, RECORD
from pipeline.training.record import (
    EPOCHS,
    READABLE,
    EpochRecord,
    RunRecord,
    Which,
    changed_circuit,
    history_sha256,
    history_text,
)


@dataclass(frozen=True, kw_only=True)
class Run(RunRecord):
    """A finished training run.

    Attributes:
        path: Its folder.
        weights: The ``state_dict``s of the ``last`` and the ``best`` epoch.
        history: Every epoch.
    """

    path: Path
    weights: dict[str, State] = field(repr=False)
    history: list[EpochRecord] = field(repr=False)

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the logits."""
        return list(self.features.provenance.classes)

    def untrained(self) -> Head:
        """The head before its training, with the circuit that was recorded."""
        source = None if self.circuit is None else self.circuit.source
        return new_head(self.config, self.features.width, len(self.classes), source)

    def head(self, which: Which = "last") -> Head:
        """The trained head of one epoch, in eval mode."""
        head = self.untrained()
        head.load_state_dict(self.weights[which])
        return head.eval()


def head_state(head: Head) -> State:
    """A copy of a head's weights."""
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}


def save_run(run: Run, folder: Path) -> None:
    """Write ``head.safetensors``, ``history.jsonl`` and, last, ``run.json`` into a folder, each whole or not at all."""
    tensors = {f"{which}.{name}": tensor for which, state in run.weights.items() for name, tensor in state.items()}
    record = run.record()
    metadata = {"format_version": str(run.format_version), "record": json.dumps(record, ensure_ascii=False)}
    write_bytes(folder / HEAD, save(tensors, metadata))
    write_text(folder / HISTORY, history_text(run.history))
    write_text(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def load_run(path: Path) -> Run:
    """Read a finished run.

    Raises:
        InputError: if the folder, or a file of it, is missing, damaged, unfinished, of an unknown version, or belongs
            to another run than the head.
    """
    folder = RunFolder(path)
    folder.recover()
    if not (path / HEAD).is_file():
        raise InputError(_nothing_there(folder))
    try:
        with safe_open(path / HEAD, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path / HEAD} is damaged ({error}); {_AGAIN}") from error
    _refuse_version(path / HEAD, metadata.get("format_version"))
    try:
        record = json.loads(metadata["record"])
        beside = json.loads((path / RECORD).read_text(encoding="utf-8"))
        lines = (path / HISTORY).read_text(encoding="utf-8").splitlines()
        run = Run(
            path=path,
            weights={which: _state(tensors, which) for which in EPOCHS},
            history=[EpochRecord(**json.loads(line)) for line in lines],
            **vars(RunRecord.from_record(record)),
        )
        for which in EPOCHS:
            run.head(which)
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the run in {path} is damaged ({reason}); {_AGAIN}") from error
    for name, belongs in ((RECORD, beside == record), (HISTORY, _is_history_of(run))):
        if not belongs:
            raise InputError(f"{path / name} belongs to another run than {path / HEAD}; {_AGAIN}")
    # On another machine, or in another folder, there is no such file, and the record has its text.
    there = Path(run.config.circuit.rpartition(":")[0]).is_file()
    for problem in changed_circuit(run.circuit.sha256 if run.circuit and there else None, run.config):
        warnings.warn(f"{problem}; the run in {path} goes on with the circuit that it recorded", stacklevel=2)
    return run


_AGAIN = "train it again: python -m pipeline train … --force (make: TRAIN_ARGS=--force)"


def _nothing_there(folder: RunFolder) -> str:
    """Why there is no run to read, and how to make one."""
    path, command = folder.path, f"python -m pipeline train --out {folder.path}"
    if folder.unfinished.exists():
        return f"the training of {path} is not finished; finish it: {command} --resume (make: TRAIN_ARGS=--resume)"
    if not path.is_dir():
        return f"there is no run folder {path}; make it: {command} (or: make train)"
    return f"{path} holds no finished run ({HEAD} is missing); train first: {command} (or: make train)"


def _refuse_version(file: Path, version: str | None) -> None:
    if version is None:
        raise InputError(f"{file} was not made by `make train`; name the folder of a run")
    if version not in map(str, READABLE):
        raise InputError(
            f"{file} has format version {version}, this program reads {', '.join(map(str, READABLE))}; "
            f"update the program, or {_AGAIN}"
        )


def _is_history_of(run: Run) -> bool:
    """Whether the history belongs to the head. Earlier versions tied them by the epochs and their time alone."""
    if run.history_sha256:
        return run.history_sha256 == history_sha256(run.history)
    seconds = round(sum(epoch.seconds for epoch in run.history), 3)
    return (len(run.history), seconds) == (run.epochs["last"], run.seconds)


def _state(tensors: State, which: str) -> State:
    return {name.removeprefix(f"{which}."): t for name, t in tensors.items() if name.startswith(f"{which}.")}
