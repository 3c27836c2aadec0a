"""The checkpoint of a training: all that is needed to go on after its last finished epoch."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from features.util.errors import InputError
from features.util.files import write_bytes
from pipeline.training.config import TrainConfig
from pipeline.training.record import EpochRecord, config_from, config_record
from pipeline.training.streaming.order import Order

FORMAT_VERSION = 2
READABLE = (1, 2)

State = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training between two epochs.

    Attributes:
        config: The configuration of the head.
        features_sha256: Identity of the features: a training goes on with the same ones only.
        history: The epochs that are done.
        head: The head's ``state_dict``.
        best_weights: The ``state_dict`` of the best epoch so far.
        optimizer: The state of the optimiser.
        circuit_sha256: Fingerprint of the circuit's file, if it comes from one.
        order: The order of rows that are read from the disk; None for rows in memory.
    """

    config: TrainConfig
    features_sha256: str
    history: list[EpochRecord]
    head: State = field(repr=False)
    best_weights: State = field(repr=False)
    optimizer: State = field(repr=False)
    circuit_sha256: str | None = None
    order: Order | None = None

    def save(self, file: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "format_version": FORMAT_VERSION,
            "config": config_record(self.config),
            "features_sha256": self.features_sha256,
            "history": [asdict(epoch) for epoch in self.history],
            "head": self.head,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer,
            "circuit_sha256": self.circuit_sha256,
            "order": None if self.order is None else asdict(self.order),
        }
        # Through memory, because torch's own writer reports a full disk as no OSError.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(file, buffer.getvalue())

    @classmethod
    def load(cls, file: Path) -> Checkpoint:
        """Read a checkpoint of this version or an earlier one.

        Raises:
            InputError: if it is damaged or of an unknown version.
        """
        try:
            state = torch.load(file, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{file} can't be read ({error}); start again with --force") from error
        if not isinstance(state, dict) or state.get("format_version") not in READABLE:
            raise InputError(f"{file} is of an unknown version; start again with --force")
        return cls(
            config=config_from(state["config"]),
            features_sha256=state["features_sha256"],
            history=[EpochRecord(**epoch) for epoch in state["history"]],
            head=state["head"],
            best_weights=state["best_weights"],
            optimizer=state["optimizer"],
            circuit_sha256=state.get("circuit_sha256"),
            order=Order(**state["order"]) if state.get("order") else None,
        )
