"""Stage 2: cached features → a trained head.

In: a ``TrainConfig``. Out: a run folder (see :mod:`pipeline.training.folder`). The backbone takes no part: a step sees
(batch, n_features) vectors, never an image.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from features.cache.featureset import FeatureFile
from features.cache.store import verify_features
from features.util.errors import InputError
from features.util.provenance import versions
from pipeline.heads.base import Head
from pipeline.heads.registry import HEADS, new_head
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.checkpoint import State
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import Training, one_thread
from pipeline.training.folder import Action, RunFolder
from pipeline.training.objective.schedule import far_from_end
from pipeline.training.record import (
    CircuitRecord,
    EpochRecord,
    FeaturesReference,
    Simulation,
    history_sha256,
)
from pipeline.training.run import Run, head_state, load_run, save_run
from pipeline.training.samples import Rows, open_rows, streamed
from pipeline.training.streaming.order import Order
from pipeline.util.markdown import counted


def train(config: TrainConfig) -> Run:
    """Train the requested head into ``config.out``, unless it is there already.

    Raises:
        InputError: for features, a run folder or a checkpoint that can't be used, and if ``config.out`` holds another
            head; nothing has then been changed.
        KeyboardInterrupt: at Ctrl-C; at most the current epoch is lost, and an earlier run stays.
    """
    features = verify_features(config.features)
    head = untrained(config, features.width, len(features.provenance.classes))
    folder = RunFolder(config.out)
    folder.action(config, features)
    with folder.lock():
        action = folder.action(config, features)
        if action == "none":
            return up_to_date(config)
        rows = open_rows(config, features)
        training = Training(config, head, features, folder.unfinished, rows.order)
        training.take_up(folder)
        if training.order and training.order != rows.order:
            rows = streamed(features, training.order)  # in the order in which it began
        doing = "fitting a head" if HEADS[config.head].fitted else f"training {head.n_trainable} parameters"
        print(f"{doing} on {features.shapes['train'][0]} cached vectors of {config.features}: {head.description}")
        try:
            # Silence NumPy's overflow warnings, because a diverging run is reported below.
            with one_thread(), np.errstate(over="ignore", invalid="ignore"):
                for epoch in _epochs(training, rows):
                    print(_line(epoch, config.passes), flush=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(training.how_to_go_on()) from None
        except NonFiniteError as error:
            folder.discard()
            raise InputError(f"training stopped after {training.saved_epochs} epochs: {error}") from error

        weights = {"last": head_state(head), "best": training.best_weights}
        run = finished(config, features, weights, training.history, head, training.order)
        save_run(run, folder.unfinished)
        put_in_place(folder, action)
    print(f"{config.out}: trained head of {counted(config.passes, 'epoch')}, {run.seconds:.1f} s")
    warn_far_from_end(run, features)
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
    features: FeatureFile,
    weights: dict[str, State],
    history: list[EpochRecord],
    head: Head,
    order: Order | None = None,
) -> Run:
    """The run whose last epoch is done."""
    judged = [epoch.val_accuracy for epoch in history[config.judged_from :]]
    return Run(
        path=config.out,
        config=config,
        features=FeaturesReference.of(features),
        epochs={"last": len(history), "best": config.judged_from + judged.index(max(judged)) + 1},
        parameters=head.n_trainable,
        seconds=round(sum(epoch.seconds for epoch in history), 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        ran=Simulation.of(head),
        circuit=CircuitRecord.of(head),
        history_sha256=history_sha256(history),
        order=order,
        weights=weights,
        history=history,
    )


def warn_far_from_end(run: Run, features: FeatureFile) -> None:
    """Print a warning where a training stopped far from its end."""
    problem = far_from_end(run.config, run.history, features.shapes["train"][0], len(run.classes))
    if problem is not None:
        print(f"warning: {problem}", file=sys.stderr)


def put_in_place(folder: RunFolder, action: Action) -> None:
    """Put the new run into its place, and print where the earlier one went."""
    aside = folder.swap(keep=action == "keep")
    if aside is not None:
        print(f"the earlier run in {folder.path} was trained on other features; it is kept in {aside}")


def _epochs(training: Training, rows: Rows) -> Iterator[EpochRecord]:
    if training.config.engine == "local":
        return training.epochs(rows)
    from pipeline.training.streaming.cluster import epochs_on_cluster

    return epochs_on_cluster(training)


def _line(record: EpochRecord, epochs: int) -> str:
    return (
        f"epoch {record.epoch:{len(str(epochs))}d}/{epochs}  "
        f"train loss {record.train_loss:.4f} accuracy {record.train_accuracy:.3f}  "
        f"val loss {record.val_loss:.4f} accuracy {record.val_accuracy:.3f}  {record.seconds:.2f} s"
    )
