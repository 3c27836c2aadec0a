"""The epochs of a training: steps, scores, checkpoints.

In: a head, and where its samples come from. Out: the trained head, a record of each epoch, and in a folder history and
checkpoint. The backbone takes no part: a step sees (batch, n_features) vectors, never an image.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from features.cache.featureset import FeatureFile
from features.util.errors import InputError
from features.util.files import write_text
from pipeline.heads.base import Head
from pipeline.heads.registry import HEADS
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.checkpoint import Checkpoint, State
from pipeline.training.config import TrainConfig
from pipeline.training.folder import RunFolder
from pipeline.training.names import CHECKPOINT, HISTORY
from pipeline.training.objective.schedule import learning_rate
from pipeline.training.objective.weights import class_weights, shares, training_counts
from pipeline.training.optimizer import Adam
from pipeline.training.record import (
    CircuitRecord,
    EpochRecord,
    changed_circuit,
    differences,
    history_text,
)
from pipeline.training.run import head_state
from pipeline.training.samples import Rows, Source
from pipeline.training.streaming.order import Order
from pipeline.util.tally import Tally


class Training:
    """The state of a training between two epochs: all that its checkpoint restores.

    Args:
        config: Hyperparameters.
        head: The head to train, in place.
        features: What it is trained on.
        folder: Where history and checkpoint are written.
        order: The order of rows that are read from the disk, unless a checkpoint has another; None for rows in memory.
    """

    def __init__(
        self, config: TrainConfig, head: Head, features: FeatureFile, folder: Path, order: Order | None = None
    ) -> None:
        self.config = config
        self.head = head
        self.features = features
        self.folder = folder
        self.order = order
        self.class_weights = (
            None if config.class_weights == "none" else class_weights(config, training_counts(features))
        )
        self.history: list[EpochRecord] = []
        self.saved_epochs = 0
        self.best_weights: State = {}
        self._begin(0)

    def _begin(self, phase: int) -> None:
        self.phase = phase
        self.head.begin(phase)
        self.optimizer = Adam(self.head, lr=self.config.lr)

    def take_up(self, folder: RunFolder) -> None:
        """Continue from the checkpoint of a stopped training, or, with --resume, of the run in the folder, in the order
        of rows that it has; without either, start from the beginning.

        Raises:
            InputError: if it is damaged, of another configuration or other features, or its rows were in memory and
                don't fit now.
        """
        stopped, standing = folder.unfinished / CHECKPOINT, folder.target / CHECKPOINT
        if stopped.is_file() and (self.config.resume or not self.config.force):
            self._resume(stopped)
            return
        folder.begin()
        if self.config.resume and standing.is_file():
            self._resume(standing)
        elif self.config.resume:
            print(f"no checkpoint in {folder.path}: starting with epoch 1")

    def epochs(self, rows: Rows) -> Iterator[EpochRecord]:
        """Run the remaining epochs, each followed by a checkpoint; yield the record of each."""
        write_text(self.folder / HISTORY, history_text(self.history))
        for epoch in range(len(self.history), self.config.passes):
            record = self._one_epoch(epoch, rows.train, rows.val)
            self.save()
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(record)) + "\n")
            yield record

    def _one_epoch(self, epoch: int, train: Source, val: Source) -> EpochRecord:
        started = time.perf_counter()
        if epoch == 0 and HEADS[self.config.head].prepared:
            [rows] = train.blocks()
            self.head.prepare(*rows, self.config.seed, self.class_weights)
        phase, within = divmod(epoch, self.config.epochs)
        if phase != self.phase:
            self._begin(phase)
        self.head.train()
        train_loss, train_accuracy = self.one_pass(within, train)
        self.head.eval()
        tally = Tally(val.scored_at_once)
        with torch.no_grad():
            for features, labels in val.blocks():
                tally.add(self.head(features), labels)
        val_loss, val_accuracy = self.score(tally)
        record = EpochRecord(
            epoch=epoch + 1,
            lr=self.optimizer.lr,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=round(time.perf_counter() - started, 4),
        )
        if not math.isfinite(train_loss):
            raise NonFiniteError(f"the loss is {train_loss}; try a smaller --lr than {self.config.lr}")
        if val_accuracy > max((past.val_accuracy for past in self.history[self.config.judged_from :]), default=-1.0):
            self.best_weights = head_state(self.head)
        self.history.append(record)
        return record

    def one_pass(self, epoch: int, train: Source) -> tuple[float, float]:
        """Learn from every sample once. Returns loss and accuracy, from before each step or after a fit.

        Args:
            epoch: Its number in its phase, from 0.
            train: The samples.
        """
        tally = Tally(train.scored_at_once)
        if HEADS[self.config.head].fitted:
            with torch.no_grad():
                for features, labels in train.blocks():
                    tally.add(self.head(features), labels)
        else:
            for features, labels in train.batches(self.config.seed, epoch, self.config.batch):
                self.optimizer.lr = learning_rate(self.config, epoch, self.optimizer.steps)
                tally.add(train_step(self.head, self.optimizer, features, labels, self.class_weights), labels)
        return self.score(tally)

    def score(self, tally: Tally) -> tuple[float, float]:
        """Loss and accuracy of all samples."""
        return tally.score()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        circuit = CircuitRecord.of(self.head)
        checkpoint = Checkpoint(
            config=self.config,
            features_sha256=self.features.content_sha256,
            history=self.history,
            head=self.head.state_dict(),
            best_weights=self.best_weights,
            optimizer=self.optimizer.state_dict(),
            circuit_sha256=circuit.sha256 if circuit else None,
            order=self.order,
        )
        checkpoint.save(self.folder / CHECKPOINT)
        self.saved_epochs = len(self.history)

    def how_to_go_on(self) -> str:
        """The message after Ctrl-C."""
        stands = f"; the earlier run in {self.config.out} is unchanged" if self.config.out.exists() else ""
        if self.saved_epochs == 0:
            return f"stopped in epoch 1; nothing to resume yet{stands}"
        on = (
            "with --resume (make: TRAIN_ARGS='… --resume') it goes on"
            if self.config.force and not self.config.resume
            else "the same command goes on"
        )
        return f"stopped, saved epochs: {self.saved_epochs}; {on} from there{stands}"

    def _resume(self, file: Path) -> None:
        checkpoint = Checkpoint.load(file)
        self._refuse_other(file, checkpoint)
        self.restore(checkpoint)
        print(f"resuming after epoch {len(self.history)} of {self.config.passes}")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state of a checkpoint of this very training."""
        self._begin(max(len(checkpoint.history) - 1, 0) // self.config.epochs)
        self.head.load_state_dict(checkpoint.head)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.history = checkpoint.history
        self.saved_epochs = len(self.history)
        self.best_weights = checkpoint.best_weights
        self.order = checkpoint.order

    def _refuse_other(self, file: Path, checkpoint: Checkpoint) -> None:
        differing = differences(checkpoint.config, self.config, but=self.config.extendable)
        differing += changed_circuit(checkpoint.circuit_sha256, self.config)
        if not self.features.matches(checkpoint.features_sha256):
            differing.append("other features")
        if self.order and not checkpoint.order:
            differing.append("rows in memory there, read from the disk now (see --memory-limit)")
        done = len(checkpoint.history)
        if done > self.config.passes:
            differing.append(f"epochs done: {done}, --epochs is {self.config.passes}")
        if differing:
            raise InputError(
                f"{file} holds another training (epochs done: {done}): {'; '.join(differing)}. Nothing was changed. "
                "Finish it with its own flags and --resume, name another --out (make: OUT=), or start the new one with "
                "--force"
            )


def train_step(
    head: Head,
    optimizer: Adam,
    features: torch.Tensor,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """One step of gradient descent on the mean cross-entropy; the logits, (B, n_classes), from before the step."""
    _, logits = head.backward_cross_entropy(features, labels, shares(class_weights, labels))
    optimizer.step()
    return logits


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: for arrays this small a second one costs more than it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
