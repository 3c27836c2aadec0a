"""The run folder: what stage 2 leaves and stage 3 reads.

``head.safetensors`` holds the weights of the last and of the best epoch, ``run.json`` all they came from,
``history.jsonl`` a line an epoch, ``checkpoint.pt`` what ``--resume`` needs. Each is replaced whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from features.cache.featureset import FeatureSet
from features.util.errors import InputError
from features.util.files import write_atomically, write_text
from pipeline.heads.baselines import ClassicalNet, LinearNet, LogisticNet, MlpNet
from pipeline.heads.dressed import DressedQuantumNet, Head
from pipeline.training.config import TrainConfig

FORMAT_VERSION = 1
HEAD, RECORD, HISTORY, CHECKPOINT = "head.safetensors", "run.json", "history.jsonl", "checkpoint.pt"
SPREAD = "heads.json"

Which = Literal["last", "best"]
State = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training run.

    Attributes:
        path: Its folder.
        config: What it was trained with.
        features: Where its features came from: ``path``, ``content_sha256``, ``width`` and the cache's provenance.
        epochs: The epoch number, from 1, of the ``last`` and the ``best`` weights. Best is by validation accuracy.
        parameters: Number of trainable parameters.
        seconds: Time spent in training.
        created: UTC time, ISO 8601.
        versions: Library versions of the training.
        weights: The two ``state_dict``s.
        history: A record an epoch.
    """

    path: Path
    config: TrainConfig
    features: dict[str, Any]
    epochs: dict[str, int]
    parameters: int
    seconds: float
    created: str
    versions: dict[str, str]
    weights: dict[str, State] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the logits."""
        return list(self.features["classes"])

    def head(self, which: Which = "last") -> Head:
        """The trained head of one epoch, in eval mode."""
        head = new_head(self.config, self.features["width"], len(self.classes))
        head.load_state_dict(self.weights[which])
        return head.eval()


def new_head(config: TrainConfig, n_features: int, n_classes: int) -> Head:
    """An untrained head as ``config`` wants it; its initial weights follow from ``config.seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        match config.head:
            case "classical":
                return ClassicalNet(n_features, n_classes, config.qubits)
            case "mlp":
                return MlpNet(n_features, n_classes, config.qubits, config.depth)
            case "linear":
                return LinearNet(n_features, n_classes)
            case "logistic":
                return LogisticNet(n_features, n_classes)
        head = DressedQuantumNet(
            n_features,
            n_classes,
            n_qubits=config.qubits,
            depth=config.depth,
            q_delta=config.q_delta,
            simulator=config.simulator,
            device=config.q_device,
            entangler="none" if config.head == "separable" else config.entangler,
            c_dtype=config.c_dtype,
        )
        head.q_params.requires_grad_(config.head != "frozen")
        return head


def make_folder(folder: Path) -> None:
    """Make a run folder.

    Raises:
        InputError: if it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"--out {folder} is a file; name a folder") from error
    except OSError as error:
        raise InputError(f"--out {folder} can't be made ({error.strerror}); name another folder") from error


def head_state(head: Head) -> State:
    """A copy of a head's weights."""
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}


def features_record(features: FeatureSet) -> dict[str, Any]:
    """What a run remembers of the features it was trained on."""
    return {
        "path": str(features.path.absolute()),
        "content_sha256": features.content_sha256,
        "width": features.width,
        **asdict(features.provenance),
        "classes": list(features.provenance.classes),
        "skipped": [list(pair) for pair in features.provenance.skipped],
    }


def save_run(run: Run) -> None:
    """Write ``head.safetensors``, ``history.jsonl`` and ``run.json``, in that order, each atomically, and take away
    what was written about the head that was there before: its report, and the spread of the heads beside it."""
    tensors = {f"{which}.{name}": tensor for which, state in run.weights.items() for name, tensor in state.items()}
    record = run_record(run)
    metadata = {"format_version": str(FORMAT_VERSION), "record": json.dumps(record, ensure_ascii=False)}
    write_atomically(run.path / HEAD, lambda part: part.write_bytes(save(tensors, metadata)))
    save_history(run.path, run.history)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_text(run.path / RECORD, text)
    for pattern in _ABOUT_THE_HEAD:
        for stale in run.path.glob(pattern):
            stale.unlink()


def load_run(path: Path) -> Run:
    """Read a finished run.

    Raises:
        InputError: if the folder, or a file of it, is missing, damaged, unfinished or of an unknown version.
    """
    if not path.is_dir():
        raise InputError(
            f"there is no run folder {path}; make it: python -m pipeline train --out {path} (or: make train)"
        )
    if not (path / HEAD).is_file():
        begun = (path / CHECKPOINT).is_file()
        raise InputError(
            f"{path} holds no finished run ({HEAD} is missing); "
            + (f"finish it: python -m pipeline train --out {path} --resume" if begun else "train first: make train")
        )
    try:
        with safe_open(path / HEAD, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path / HEAD} is damaged ({error}); train again: make train") from error
    _refuse_version(path / HEAD, metadata.get("format_version"))
    try:
        record = json.loads(metadata["record"])
        history = [json.loads(line) for line in (path / HISTORY).read_text(encoding="utf-8").splitlines()]
        run = Run(
            path=path,
            config=config_from(record["config"]),
            weights={which: _state(tensors, which) for which in ("last", "best")},
            history=history,
            **{item: record[item] for item in _RECORDED},
        )
        run.head("last")
        run.head("best")
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the run in {path} is damaged ({reason}); train again: make train") from error
    return run


def config_from(values: dict[str, Any]) -> TrainConfig:
    """The configuration that was recorded; names that this version does not know are left out.

    Raises:
        ValueError: if a value is out of range.
    """
    values = {_RENAMED.get(name, name): value for name, value in values.items()}
    known = {item.name for item in fields(TrainConfig)}
    values = {name: value for name, value in values.items() if name in known}
    return TrainConfig(**values | {name: Path(values[name]) for name in ("features", "out")})


def config_record(config: TrainConfig) -> dict[str, Any]:
    """A configuration as JSON holds it; ``resume`` is how a run was continued, not what it is."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    del values["resume"]
    return values


def run_record(run: Run) -> dict[str, Any]:
    """What ``run.json`` holds."""
    return {
        "format_version": FORMAT_VERSION,
        "config": config_record(run.config),
        **{item: getattr(run, item) for item in _RECORDED},
    }


def save_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write ``history.jsonl`` atomically."""
    text = "".join(json.dumps(row) + "\n" for row in history)
    write_text(folder / HISTORY, text)


_ABOUT_THE_HEAD = ("report.json", "report.html", "*.png", "model.onnx", "model.pth", SPREAD)
# Names that recorded settings had before.
_RENAMED = {"device": "q_device", "heads": "seeds"}
_RECORDED = ("features", "epochs", "parameters", "seconds", "created", "versions")


def _refuse_version(file: Path, version: str | None) -> None:
    if version is None:
        raise InputError(f"{file} was not made by `make train`; name the folder of a run")
    if version != str(FORMAT_VERSION):
        raise InputError(
            f"{file} has format version {version}, this program reads version {FORMAT_VERSION}; "
            "update the program, or train again: make train"
        )


def _state(tensors: State, which: str) -> State:
    return {name.removeprefix(f"{which}."): t for name, t in tensors.items() if name.startswith(f"{which}.")}
