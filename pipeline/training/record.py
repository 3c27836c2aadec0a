"""The record of a run: dataclasses in memory, JSON on the disk.

``run.json`` holds a :class:`RunRecord`, ``history.jsonl`` an :class:`EpochRecord` a line. Identity is content: two runs
are of the same head if :func:`differences` finds none, whatever their dates and places.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from features.cache.featureset import FeatureFile
from features.cache.records import Provenance
from features.util.flags import flag
from pipeline.training.config import TrainConfig
from pipeline.training.streaming.order import Order

if TYPE_CHECKING:
    pass

READABLE = (1, 2, 3)

Which = Literal["last", "best"]
EPOCHS: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a training: losses are mean cross-entropies, accuracies shares.

    Attributes:
        epoch: Its number, from 1.
        lr: The learning rate of its last step.
        train_loss, train_accuracy: Of the training samples, each before the step that learned from it.
        val_loss, val_accuracy: Of the validation samples, after the epoch.
        seconds: Time it took.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FeaturesReference:
    """The features that a head was trained on.

    Attributes:
        path: The cache's absolute path at that time.
        content_sha256: Its identity.
        width: Features an image.
        provenance: Where the features come from, as the cache said.
    """

    path: str
    content_sha256: str
    width: int
    provenance: Provenance

    @classmethod
    def of(cls, features: FeatureFile) -> FeaturesReference:
        """The reference to features."""
        return cls(
            path=str(features.path.absolute()),
            content_sha256=features.content_sha256,
            width=features.width,
            provenance=features.provenance,
        )

    def record(self) -> dict[str, Any]:
        """As JSON: the provenance's fields stand beside the others."""
        values = {"path": self.path, "content_sha256": self.content_sha256, "width": self.width}
        return values | self.provenance.record()

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> FeaturesReference:
        """What :meth:`record` gave, in this version or an earlier one.

        Raises:
            KeyError, TypeError: if a field that every version has is missing.
        """
        return cls(
            path=values["path"],
            content_sha256=values["content_sha256"],
            width=values["width"],
            provenance=Provenance.from_record(values),
        )


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The simulator that ran the circuit; after a fallback not the one that was asked for.

    Attributes:
        simulator: ``lightning``, ``dense`` or ``qnode``.
        device: The PennyLane device of ``qnode``, else None.
    """

    simulator: str
    device: str | None = None

    @classmethod
    def of(cls, head: Any) -> Simulation | None:
        """The simulator of a head's circuit; None for a head without one."""
        if head.compiled is None:
            return None
        return cls(simulator=head.simulator, device=head.device_name if head.simulator == "qnode" else None)


@dataclass(frozen=True, kw_only=True)
class CircuitRecord:
    """A head's circuit.

    Attributes:
        name: Its name, or ``my_circuit.py:name``.
        arguments: Its sizes.
        source: The text of its file; None for a circuit of this program.
        sha256: Fingerprint of that text.
        fallback: Why it ran as an ordinary QNode though another simulator was asked for.
    """

    name: str
    arguments: dict[str, Any]
    source: str | None = None
    sha256: str | None = None
    fallback: str | None = None

    @classmethod
    def of(cls, head: Any) -> CircuitRecord | None:
        """The record of a head's circuit; None for a head without one."""
        from pipeline.heads.bound import source_sha256
        from pipeline.quantum.circuit import Circuit

        if head.compiled is None:
            return None
        if isinstance(head.circuit, Circuit):
            fallback = head.compiled.fallback_reason
            return cls(name="mari", arguments=asdict(head.circuit), fallback=fallback)
        source = head.circuit.source
        return cls(
            name=head.circuit.name,
            arguments=head.circuit.arguments,
            source=source,
            sha256=None if source is None else source_sha256(source),
            fallback=head.compiled.fallback_reason,
        )


def changed_circuit(sha256: str | None, config: TrainConfig) -> list[str]:
    """A sentence if the circuit's file is no longer the one with this fingerprint, or is gone; else nothing."""
    if sha256 is None or ":" not in config.circuit:
        return []
    from pipeline.heads.bound import read_source, source_sha256

    try:
        same = source_sha256(read_source(config.circuit)) == sha256
    except ValueError:
        return [f"the circuit's file {config.circuit.rpartition(':')[0]} can't be read any more"]
    return [] if same else [f"the circuit's file {config.circuit.rpartition(':')[0]} has changed since"]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What ``run.json`` holds.

    Attributes:
        config: What the head was asked to be.
        features: What it was trained on.
        epochs: The epoch number, from 1, of the ``last`` and the ``best`` weights. Best is by validation accuracy.
        parameters: Number of trainable parameters.
        seconds: Time spent in training.
        created: UTC time, ISO 8601.
        versions: Library versions of the training.
        ran: What simulated the circuit; None for a head without one, and where an earlier version did not record it.
        circuit: The circuit; None for a head without one, and where an earlier version did not record it.
        history_sha256: Fingerprint of the history, which ties it to the head; "" where it was not recorded.
        order: The order of rows that were read from the disk as they were needed; None for rows in memory.
    """

    config: TrainConfig
    features: FeaturesReference
    epochs: dict[str, int]
    parameters: int
    seconds: float
    created: str
    versions: dict[str, str]
    ran: Simulation | None = None
    circuit: CircuitRecord | None = None
    history_sha256: str = field(default="", repr=False)
    order: Order | None = None

    @property
    def format_version(self) -> int:
        """3 of a head that reads a layer, which earlier versions would put behind the whole network; else 2."""
        return 3 if self.features.provenance.layer else 2

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format_version": self.format_version,
            "config": config_record(self.config),
            "features": self.features.record(),
            "ran": None if self.ran is None else asdict(self.ran),
            "circuit": None if self.circuit is None else asdict(self.circuit),
            **{name: getattr(self, name) for name in _PLAIN},
        } | ({} if self.order is None else {"order": asdict(self.order)})

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> RunRecord:
        """What :meth:`record` gave, in this version or an earlier one.

        Raises:
            KeyError, TypeError, ValueError: if something is missing or out of range.
        """
        ran, circuit, order = values.get("ran"), values.get("circuit"), values.get("order")
        return cls(
            config=config_from(values["config"]),
            features=FeaturesReference.from_record(values["features"]),
            ran=None if ran is None else Simulation(**ran),
            circuit=None if circuit is None else CircuitRecord(**circuit),
            history_sha256=values.get("history_sha256", ""),
            order=None if order is None else Order(**order),
            **{name: values[name] for name in _PLAIN if name != "history_sha256"},
        )


_PLAIN = ("epochs", "parameters", "seconds", "created", "versions", "history_sha256")


def config_record(config: TrainConfig) -> dict[str, Any]:
    """A configuration as JSON, without the flags that don't change the head (--resume, …)."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    return {name: value for name, value in values.items() if name not in _HOW}


def config_from(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration that was recorded; names that this version does not know are left out.

    Raises:
        ValueError: if a value is out of range.
    """
    known = {item.name for item in fields(TrainConfig)}
    named = {_RENAMED.get(name, name): value for name, value in values.items()}
    kept = {name: value for name, value in named.items() if name in known}
    return TrainConfig(**kept | {name: Path(kept[name]) for name in ("features", "out")})


def differences(standing: TrainConfig, wanted: TrainConfig, *, but: Sequence[str] = ()) -> list[str]:
    """The flags in which a wanted head differs from an existing one: ``--lr 0.01 there, 0.02 asked for``.

    Args:
        standing: The configuration of the existing head.
        wanted: The configuration of the wanted head.
        but: Fields that do not count.
    """
    there, here = config_record(standing), config_record(wanted)
    together = ("simulator",) if max(standing.seeds, wanted.seeds) > 1 else ()  # then it is always `dense`
    return [
        f"{flag(name)} {there[name]} there, {value} asked for"
        for name, value in here.items()
        if name not in (*_PLACES, *together, *but) and there[name] != value
    ]


def history_text(history: Sequence[EpochRecord]) -> str:
    """What ``history.jsonl`` holds: a line an epoch."""
    return "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history)


def history_sha256(history: Sequence[EpochRecord]) -> str:
    """Fingerprint of a history."""
    return hashlib.sha256(history_text(history).encode()).hexdigest()


_HOW = ("memory_limit", "engine", "workers", "address", "resume", "force")
_PLACES = ("features", "out")
# Names that recorded settings had before.
_RENAMED = {"device": "q_device", "heads": "seeds"}
