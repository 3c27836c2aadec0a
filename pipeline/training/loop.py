"""Stage 2: cached features → a trained head.

In: a ``TrainConfig``. Out: a run folder (see :mod:`pipeline.training.folder`). The backbone takes no part: a step sees
(batch, n_features) vectors, never an image.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from features.cache.featureset import FeatureSet
from features.cache.store import read_features
from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import versions
from pipeline.heads.base import Head
from pipeline.heads.registry import HEADS, new_head
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.checkpoint import Checkpoint, State
from pipeline.training.config import TrainConfig
from pipeline.training.folder import Action, RunFolder
from pipeline.training.names import CHECKPOINT, HISTORY
from pipeline.training.optimizer import FlatAdam
from pipeline.training.record import (
    CircuitRecord,
    EpochRecord,
    FeaturesReference,
    Simulation,
    changed_circuit,
    differences,
    history_sha256,
    history_text,
)
from pipeline.training.run import Run, head_state, load_run, save_run
from pipeline.training.samples import Samples, drawn_views, epoch_order, samples_of, training_samples


def train(config: TrainConfig) -> Run:
    """Train the requested head into ``config.out``, unless it is there already.

    Raises:
        InputError: for features, a run folder or a checkpoint that can't be used, and if ``config.out`` holds another
            head; nothing has then been changed.
        KeyboardInterrupt: at Ctrl-C; at most the current epoch is lost, and an earlier run stays.
    """
    features = read_features(config.features)
    head = untrained(config, features.width, len(features.provenance.classes))
    samples = training_samples(config, features)
    folder = RunFolder(config.out)
    folder.action(config, features)
    with folder.lock():
        action = folder.action(config, features)
        if action == "none":
            return up_to_date(config)
        training = Training(config, head, features, folder.unfinished)
        training.take_up(folder)
        print(
            f"training {head.n_trainable} parameters on {len(features.train.labels)} cached vectors of "
            f"{config.features}: {head.description}"
        )
        try:
            # Silence NumPy's overflow warnings, because a diverging run is reported below.
            with one_thread(), np.errstate(over="ignore", invalid="ignore"):
                for epoch in training.epochs(samples, samples_of(features.val)):
                    print(_line(epoch, config.passes), flush=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(training.how_to_go_on()) from None
        except NonFiniteError as error:
            folder.discard()
            raise InputError(f"training stopped after {training.saved_epochs} epochs: {error}") from error

        weights = {"last": head_state(head), "best": training.best_weights}
        run = finished(config, features, weights, training.history, head)
        save_run(run, folder.unfinished)
        put_in_place(folder, action)
    print(f"{config.out}: trained head of {config.passes} epoch{'s'[: config.passes > 1]}, {run.seconds:.1f} s")
    return run


def untrained(config: TrainConfig, n_features: int, n_classes: int) -> Head:
    """The requested head, before its training.

    Raises:
        InputError: if it can't be made, for example because its circuit does not fit into memory.
    """
    try:
        return new_head(config, n_features, n_classes)
    except ValueError as error:
        raise InputError(f"this head can't be made: {error}") from error


def up_to_date(config: TrainConfig) -> Run:
    """The run in ``config.out``, which is the requested one."""
    run = load_run(config.out)
    print(f"{config.out}: up to date, the requested head, trained on the same features")
    return run


def finished(
    config: TrainConfig,
    features: FeatureSet,
    weights: dict[str, State],
    history: list[EpochRecord],
    head: Head,
) -> Run:
    """The run whose last epoch is done."""
    accuracies = [epoch.val_accuracy for epoch in history]
    return Run(
        path=config.out,
        config=config,
        features=FeaturesReference.of(features),
        epochs={"last": len(history), "best": accuracies.index(max(accuracies)) + 1},
        parameters=head.n_trainable,
        seconds=round(sum(epoch.seconds for epoch in history), 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        ran=Simulation.of(head),
        circuit=CircuitRecord.of(head),
        history_sha256=history_sha256(history),
        weights=weights,
        history=history,
    )


def put_in_place(folder: RunFolder, action: Action) -> None:
    """Put the new run into its place, and print where the earlier one went."""
    aside = folder.swap(keep=action == "keep")
    if aside is not None:
        print(f"the earlier run in {folder.path} was trained on other features; it is kept in {aside}")


class Training:
    """The state of a training between two epochs: all that its checkpoint restores.

    Args:
        config: Hyperparameters.
        head: The head to train, in place.
        features: What it is trained on.
        folder: Where history and checkpoint are written.
    """

    def __init__(self, config: TrainConfig, head: Head, features: FeatureSet, folder: Path) -> None:
        self.config = config
        self.head = head
        self.features = features
        self.folder = folder
        self.optimizer = FlatAdam(head, lr=config.lr)
        self.history: list[EpochRecord] = []
        self.saved_epochs = 0
        self.best_weights: State = {}

    def take_up(self, folder: RunFolder) -> None:
        """Continue from the checkpoint of a stopped training, or, with --resume, of the run in the folder; without
        either, start from the beginning.

        Raises:
            InputError: if it is damaged, or of another configuration or other features.
        """
        stopped, standing = folder.unfinished / CHECKPOINT, folder.target / CHECKPOINT
        if stopped.is_file() and (self.config.resume or not self.config.force):
            self._restore(stopped)
            return
        folder.begin()
        if self.config.resume and standing.is_file():
            self._restore(standing)
        elif self.config.resume:
            print(f"no checkpoint in {folder.path}: starting with epoch 1")

    def epochs(self, train_samples: Samples, val_samples: Samples) -> Iterator[EpochRecord]:
        """Run the remaining epochs, each followed by a checkpoint; yield the record of each."""
        write_text(self.folder / HISTORY, history_text(self.history))
        for epoch in range(len(self.history), self.config.passes):
            record = self._one_epoch(epoch, train_samples, val_samples)
            self.save()
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(record)) + "\n")
            yield record

    def _one_epoch(self, epoch: int, train_samples: Samples, val_samples: Samples) -> EpochRecord:
        started = time.perf_counter()
        self.optimizer.lr = learning_rate(self.config, epoch)
        self.head.train()
        train_loss, train_accuracy = score(*self._one_pass(epoch, *train_samples))
        self.head.eval()
        with torch.no_grad():
            val_loss, val_accuracy = score(self.head(val_samples.features), val_samples.labels)
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
        if val_accuracy > max((past.val_accuracy for past in self.history), default=-1.0):
            self.best_weights = head_state(self.head)
        self.history.append(record)
        return record

    def _one_pass(self, epoch: int, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from every sample once. Returns logits, (N, n_classes), from before each step or after a fit, and
        labels."""
        if HEADS[self.config.head].fitted:
            self.head.fit(features, labels, self.config.seed)
            with torch.no_grad():
                return self.head(features), labels
        order = epoch_order(self.config.seed, epoch, len(labels))
        if features.ndim == 3:
            features = features[order, drawn_views(self.config.seed, epoch, *features.shape[:2])[order]]
        else:
            features = features[order]
        labels = labels[order]
        batches = zip(features.split(self.config.batch), labels.split(self.config.batch), strict=True)
        return torch.cat([train_step(self.head, self.optimizer, batch, wanted) for batch, wanted in batches]), labels

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
        )
        checkpoint.save(self.folder / CHECKPOINT)
        self.saved_epochs = len(self.history)

    def how_to_go_on(self) -> str:
        """The message after Ctrl-C."""
        stands = f"; the earlier run in {self.config.out} is unchanged" if self.config.out.exists() else ""
        if self.saved_epochs == 0:
            return f"stopped in epoch 1; nothing to resume yet{stands}"
        return f"stopped, saved epochs: {self.saved_epochs}; to go on, run the same command with --resume{stands}"

    def _restore(self, file: Path) -> None:
        checkpoint = Checkpoint.load(file)
        self._refuse_other(file, checkpoint)
        self.head.load_state_dict(checkpoint.head)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.history = checkpoint.history
        self.saved_epochs = len(self.history)
        self.best_weights = checkpoint.best_weights
        print(f"resuming after epoch {len(self.history)} of {self.config.passes}")

    def _refuse_other(self, file: Path, checkpoint: Checkpoint) -> None:
        differing = differences(checkpoint.config, self.config, but=["epochs"])
        differing += changed_circuit(checkpoint.circuit_sha256, self.config)
        if not self.features.matches(checkpoint.features_sha256):
            differing.append("other features")
        done = len(checkpoint.history)
        if done > self.config.passes:
            differing.append(f"epochs done: {done}, --epochs is {self.config.passes}")
        if differing:
            raise InputError(
                f"{file} holds another training (epochs done: {done}): {'; '.join(differing)}. Nothing was changed. "
                "Finish it with its own flags and --resume, name another --out (make: OUT=), or start the new one with "
                "--force"
            )


def train_step(head: Head, optimizer: FlatAdam, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One step of gradient descent on the mean cross-entropy; the logits, (B, n_classes), from before the step."""
    _, logits = head.backward_cross_entropy(features, labels)
    optimizer.step()
    return logits


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The rate in an epoch, from 0: multiplied by ``lr_gamma`` after every ``lr_step`` epochs, as the demo does."""
    return config.lr * config.lr_gamma ** (epoch // config.lr_step)


def score(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    loss = functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(dim=1) == labels).double().mean().item()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: for arrays this small a second one costs more than it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _line(record: EpochRecord, epochs: int) -> str:
    return (
        f"epoch {record.epoch:{len(str(epochs))}d}/{epochs}  "
        f"train loss {record.train_loss:.4f} accuracy {record.train_accuracy:.3f}  "
        f"val loss {record.val_loss:.4f} accuracy {record.val_accuracy:.3f}  {record.seconds:.2f} s"
    )
