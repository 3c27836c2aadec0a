"""Stage 2: cached features → a trained head.

In: a ``TrainConfig``. Out: a run folder (see :mod:`pipeline.training.run`). The backbone takes no
part: a step sees (batch, n_features) vectors, never an image.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from features.cache.featureset import FeatureSet, Split
from features.cache.store import read_features
from features.util.errors import InputError
from features.util.provenance import versions
from pipeline.heads.baselines import LogisticNet
from pipeline.heads.dressed import Head
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.config import TrainConfig
from pipeline.training.optimizer import FlatAdam
from pipeline.training.run import (
    CHECKPOINT,
    HISTORY,
    Run,
    State,
    config_from,
    config_record,
    features_record,
    head_state,
    make_folder,
    new_head,
    save_history,
    save_run,
    write_atomically,
)

Rows = tuple[torch.Tensor, torch.Tensor]


def train(config: TrainConfig) -> Run:
    """Train a head on cached features and leave it in ``config.out``.

    Raises:
        InputError: for features, a run folder or a checkpoint that can't be used; nothing has then been written.
        KeyboardInterrupt: at Ctrl-C; at most the epoch under way is lost.
    """
    features = read_features(config.features)
    head = new_head(config, features.width, len(features.provenance.classes))
    training = Training(config, head, features.content_sha256)
    if config.resume:
        training.resume()
    train_rows = training_tensors(config, features)
    make_folder(config.out)

    print(
        f"training {head.n_trainable} parameters on {len(features.train.labels)} cached vectors of {config.features}: "
        f"{head.description}"
    )
    try:
        # NumPy would warn of an overflow; that a run diverges is said below, in words.
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):
            for row in training.epochs(train_rows, tensors(features.val)):
                print(_line(row, config.passes), flush=True)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(training.how_to_go_on()) from None
    except NonFiniteError as error:
        raise InputError(f"training stopped after {training.saved_epochs} epochs: {error}") from error

    weights = {"last": head_state(head), "best": training.best_weights}
    run = finish(config, features, weights, training.history, head.n_trainable)
    print(f"{config.out}: trained head of {config.passes} epoch{'s'[: config.passes > 1]}, {run.seconds:.1f} s")
    return run


def finish(
    config: TrainConfig,
    features: FeatureSet,
    weights: dict[str, State],
    history: list[dict[str, Any]],
    parameters: int,
) -> Run:
    """Write down a run whose last epoch is done."""
    accuracies = [row["val_accuracy"] for row in history]
    run = Run(
        path=config.out,
        config=config,
        features=features_record(features),
        epochs={"last": len(history), "best": accuracies.index(max(accuracies)) + 1},
        parameters=parameters,
        seconds=round(sum(row["seconds"] for row in history), 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        weights=weights,
        history=history,
    )
    save_run(run)
    return run


class Training:
    """The state of a run between two epochs: all that ``--resume`` restores.

    Args:
        config: Hyperparameters.
        head: The head to train, in place.
        features_sha256: Fingerprint of the features, so that a checkpoint is continued on no others.
    """

    def __init__(self, config: TrainConfig, head: Head, features_sha256: str) -> None:
        self.config = config
        self.head = head
        self.features_sha256 = features_sha256
        self.optimizer = FlatAdam(head, lr=config.lr)
        self.history: list[dict[str, Any]] = []
        self.saved_epochs = 0
        self.best_weights: State = {}

    def epochs(self, train_rows: Rows, val_rows: Rows) -> Iterator[dict[str, Any]]:
        """Run the epochs that are left, with a checkpoint after each; yield each one's history record."""
        save_history(self.config.out, self.history)
        for epoch in range(len(self.history), self.config.passes):
            row = self._one_epoch(epoch, train_rows, val_rows)
            self.save()
            with (self.config.out / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            yield row

    def _one_epoch(self, epoch: int, train_rows: Rows, val_rows: Rows) -> dict[str, Any]:
        started = time.perf_counter()
        self.optimizer.lr = learning_rate(self.config, epoch)
        self.head.train()
        train_loss, train_accuracy = score(*self._one_pass(epoch, *train_rows))
        self.head.eval()
        with torch.no_grad():
            val_loss, val_accuracy = score(self.head(val_rows[0]), val_rows[1])
        row = {
            "epoch": epoch + 1,
            "lr": self.optimizer.lr,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "seconds": round(time.perf_counter() - started, 4),
        }
        if not math.isfinite(train_loss):
            raise NonFiniteError(f"the loss is {train_loss}; try a smaller --lr than {self.config.lr}")
        if val_accuracy > max((past["val_accuracy"] for past in self.history), default=-1.0):
            self.best_weights = head_state(self.head)
        self.history.append(row)
        return row

    def _one_pass(self, epoch: int, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Learn from every sample once; logits, (N, n_classes), from before each step or after a fit, and labels."""
        if isinstance(self.head, LogisticNet):
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
        """Write the checkpoint atomically."""
        state = {
            "format_version": 1,
            "config": config_record(self.config),
            "features_sha256": self.features_sha256,
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best_weights": self.best_weights,
        }
        # Through memory, because torch's own writer reports a full disk as no OSError.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.config.out / CHECKPOINT, lambda part: part.write_bytes(buffer.getvalue()))
        self.saved_epochs = len(self.history)

    def resume(self) -> None:
        """Take up the checkpoint in the run folder; where there is none, say so and start from the beginning.

        Raises:
            InputError: if it is damaged, or of another configuration or other features.
        """
        file = self.config.out / CHECKPOINT
        if not file.is_file():
            print(f"no checkpoint in {self.config.out}: starting with epoch 1")
            return
        try:
            state = torch.load(file, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{file} can't be read ({error}); start again without --resume") from error
        self._refuse_other(file, state)
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]
        self.saved_epochs = len(self.history)
        self.best_weights = state["best_weights"]
        print(f"resuming after epoch {len(self.history)} of {self.config.passes}")

    def how_to_go_on(self) -> str:
        """What to tell who stopped the run."""
        if self.saved_epochs == 0:
            return "stopped in epoch 1; nothing to resume yet"
        return f"stopped; go on with the same command and --resume: {self.saved_epochs} epochs are saved"

    def _refuse_other(self, file: Path, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or state.get("format_version") != 1:
            raise InputError(f"{file} is of an unknown version; start again without --resume")
        here, there = config_record(self.config), config_record(config_from(state["config"]))
        differing = [
            f"--{name.replace('_', '-')} {there.get(name)} then, {value} now"
            for name, value in here.items()
            if name not in ("features", "out", "epochs") and there.get(name) != value
        ]
        if state["features_sha256"] != self.features_sha256:
            differing.append("other features")
        if len(state["history"]) > self.config.passes:
            differing.append(f"{len(state['history'])} epochs are done, --epochs is {self.config.passes}")
        if differing:
            raise InputError(
                f"{file} is of another run: {'; '.join(differing)}. "
                "Give the same flags, or start again without --resume"
            )


def train_step(head: Head, optimizer: FlatAdam, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """One step of gradient descent on the mean cross-entropy; the logits, (B, n_classes), from before the step."""
    _, logits = head.backward_cross_entropy(features, labels)
    optimizer.step()
    return logits


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The rate in an epoch, from 0: multiplied by ``lr_gamma`` after every ``lr_step`` epochs, as the demo does."""
    return config.lr * config.lr_gamma ** (epoch // config.lr_step)


def epoch_order(seed: int, epoch: int, n: int) -> torch.Tensor:
    """The order of ``n`` samples in an epoch, from seed and epoch alone: a resumed run needs no generator's state."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))


def drawn_views(seed: int, epoch: int, n: int, views: int) -> torch.Tensor:
    """Which of its ``views`` each of ``n`` samples is seen by in an epoch, int64 of shape (n,)."""
    return torch.from_numpy(np.random.default_rng([seed, epoch, views]).integers(views, size=n))


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


def tensors(split: Split) -> Rows:
    """Features (N, D) and labels (N,) of a split, without a copy."""
    return torch.from_numpy(split.features), torch.from_numpy(split.labels)


def training_tensors(config: TrainConfig, features: FeatureSet) -> Rows:
    """What a head is trained on: features (N, D), or with ``config.views`` (N, views, D), and labels (N,).

    Raises:
        InputError: if the cache has fewer views.
    """
    if not config.views:
        return tensors(features.train)
    views = features.train.views
    there = 0 if views is None else views.shape[1]
    if views is None or there < config.views:
        raise InputError(
            f"--views is {config.views}, but {features.path} holds {there} views of each training image; make them: "
            f'python -m features --views {config.views} …  (or give ARGS="--views {config.views}" to make)'
        )
    return torch.from_numpy(views[:, : config.views]), torch.from_numpy(features.train.labels)


def _line(row: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']:{len(str(epochs))}d}/{epochs}  "
        f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:.3f}  "
        f"val loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:.3f}  {row['seconds']:.2f} s"
    )
