"""Stage 2 for many heads at once: one kind of head from many seeds, all trained in the same matrix products.

In: a ``TrainConfig`` with ``seeds`` above 1. Out: the run of the first seed in ``config.out``, an
ordinary run of every further seed in ``config.out/seed-N``, and ``heads.json`` with the spread of their accuracies.
Each head sees its samples in the order that its seed alone would give it, so it ends as if trained alone, to float
tolerance.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch.nn import functional

from features.cache.featureset import FeatureSet
from features.cache.store import read_features
from features.util.errors import InputError
from features.util.files import write_text
from pipeline.heads.registry import HEADS
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.autograd import NonFiniteError
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import one_thread
from pipeline.training.folder import RunFolder
from pipeline.training.loop import finished, put_in_place, untrained, up_to_date, warn_far_from_end
from pipeline.training.names import CHECKPOINT, SPREAD
from pipeline.training.objective.schedule import learning_rate
from pipeline.training.objective.weights import class_weights, shares
from pipeline.training.optimizer import Adam
from pipeline.training.record import EPOCHS, EpochRecord, Which
from pipeline.training.run import Run, load_run, save_run
from pipeline.training.samples import drawn_views, epoch_order, samples_of, training_samples
from pipeline.util.records import to_record


def train_many(config: TrainConfig) -> list[Run]:
    """Train ``config.seeds`` heads into ``config.out``, with seeds from ``config.seed`` on, unless they are there
    already: a run of each, and the spread of their accuracies.

    Raises:
        InputError: for features or a run folder that can't be used, a circuit too large to be a dense matrix, and if
            ``config.out`` holds another head; nothing has then been changed.
    """
    features = read_features(config.features)
    configs = _config_of_each(config)
    heads = [untrained(one, features.width, len(features.provenance.classes)) for one in configs]
    try:
        nets = stack(heads)
    except ValueError as error:
        raise InputError(f"{config.seeds} heads can't be trained together: {error}") from error
    folder = RunFolder(config.out)
    folder.action(config, features)
    with folder.lock():
        action = folder.action(config, features)
        if action == "none":
            up_to_date(config)
            return [load_run(one.out) for one in configs]
        _refuse_unfinished(folder, config)
        print(
            f"training {config.seeds} {config.head} heads of {heads[0].n_trainable} parameters together on "
            f"{len(features.train.labels)} cached vectors of {config.features}"
        )
        started = time.perf_counter()
        try:
            with one_thread(), np.errstate(over="ignore", invalid="ignore"):
                best, histories = _train(config, nets, [one.seed for one in configs], features)
        except NonFiniteError as error:
            raise InputError(f"training stopped, nothing was written: {error}") from error
        seconds = time.perf_counter() - started

        folder.begin()
        runs = []
        for index, (one, history) in enumerate(zip(configs, histories, strict=True)):
            weights = {"last": nets.head_state(index), "best": best.head_state(index)}
            runs.append(finished(one, features, weights, history, heads[index]))
            place = folder.unfinished / one.out.relative_to(config.out)
            place.mkdir(exist_ok=True)
            # The first run's record comes last: with it the folder is whole.
            if index > 0:
                save_run(runs[index], place)
        spreads = {
            which: Spread.of([run.history[run.epochs[which] - 1].val_accuracy for run in runs]) for which in EPOCHS
        }
        record = {"seeds": [one.seed for one in configs], **to_record(spreads), "seconds": round(seconds, 3)}
        write_text(folder.unfinished / SPREAD, json.dumps(record, indent=2) + "\n")
        save_run(runs[0], folder.unfinished)
        put_in_place(folder, action)
    print(_table(spreads))
    print(f"{config.out / SPREAD}: {config.seeds} heads of {config.passes} epochs, {seconds:.1f} s")
    warn_far_from_end(runs[0], features)
    return runs


def train_epochs(
    config: TrainConfig,
    nets: StackedHeads,
    seeds: Sequence[int],
    features: torch.Tensor,
    labels: torch.Tensor,
    train_rows: torch.Tensor,
) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
    """Prepare all heads, then train them for ``config.passes`` epochs, each on rows of its own, in the order that its
    seed gives them.

    Args:
        config: Hyperparameters.
        nets: The heads, in place.
        seeds: Of the order of the samples, one a head.
        features: Shape (N, n_features), shared; or (N, views, n_features), of which each epoch draws one a sample.
        labels: Shape (N,).
        train_rows: Which samples each head is trained on, int64 of shape (heads, n).

    Yields:
        After each epoch its learning rate, and each head's training loss and accuracy, float64 of shape (heads,).
    """
    counts = torch.stack([labels[own].bincount(minlength=int(labels.max()) + 1) for own in train_rows])
    weights = class_weights(config, counts)
    if HEADS[config.head].prepared:
        nets.prepare(features, labels, train_rows, seeds, weights)
    views = features.shape[1] if features.ndim == 3 else 1
    rows = features.flatten(0, -2)
    for phase, epoch in product(range(HEADS[config.head].phases), range(config.epochs)):
        if epoch == 0:
            nets.head.begin(phase)
            optimizer = Adam(nets, lr=config.lr)
        orders = torch.stack([epoch_order(seed, epoch, train_rows.shape[1]) for seed in seeds])
        chosen = train_rows.gather(1, orders)
        places = chosen
        if views > 1:
            drawn = torch.stack([drawn_views(seed, epoch, len(labels), views) for seed in seeds])
            places = chosen * views + drawn.gather(1, chosen)
        logits = []
        for batch, place in zip(chosen.split(config.batch, dim=1), places.split(config.batch, dim=1), strict=True):
            optimizer.lr = learning_rate(config, epoch, optimizer.steps)
            counted = shares(weights, labels[batch])
            logits.append(nets.backward_cross_entropy(rows, labels[batch], place, counted)[1])
            optimizer.step()
        yield optimizer.lr, *scores(torch.cat(logits, dim=1), labels[chosen])


def scores(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each head's mean cross-entropy and accuracy, float64 of shape (heads,)."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    return losses.mean(dim=1).double(), (logits.argmax(dim=-1) == labels).double().mean(dim=1)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The spread of many accuracies; ``quartiles`` are the 25, 50 and 75 % quantiles."""

    mean: float
    standard_deviation: float
    min: float
    quartiles: list[float]
    max: float
    accuracies: list[float]

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of two accuracies or more."""
        return cls(
            mean=float(np.mean(values)),
            standard_deviation=float(np.std(values, ddof=1)),
            min=min(values),
            quartiles=np.percentile(values, [25, 50, 75]).tolist(),
            max=max(values),
            accuracies=values,
        )


def _refuse_unfinished(folder: RunFolder, config: TrainConfig) -> None:
    """Refuse to discard a single head whose training was stopped, unless --force is given."""
    file = folder.unfinished / CHECKPOINT
    if file.is_file() and not config.force:
        raise InputError(
            f"{file} holds a training that was stopped. Nothing was changed. Finish it with its own flags and "
            "--resume, name another --out (make: OUT=), or train these heads with --force"
        )


def _config_of_each(config: TrainConfig) -> list[TrainConfig]:
    seeds = range(config.seed, config.seed + config.seeds)
    return [
        replace(
            config,
            seeds=config.seeds if seed == config.seed else 1,
            seed=seed,
            simulator="dense",
            out=config.out if seed == config.seed else config.out / f"seed-{seed}",
        )
        for seed in seeds
    ]


def _train(
    config: TrainConfig, nets: StackedHeads, seeds: list[int], features: FeatureSet
) -> tuple[StackedHeads, list[list[EpochRecord]]]:
    """Run all epochs. Returns the heads as of each one's best epoch, and a history of each."""
    from tqdm import tqdm

    rows, labels = training_samples(config, features)
    val = samples_of(features.val)
    best = copy.deepcopy(nets)
    best_accuracy = torch.full((len(seeds),), -1.0, dtype=torch.float64)
    histories: list[list[EpochRecord]] = [[] for _ in seeds]
    all_rows = torch.arange(len(labels)).expand(len(seeds), -1)
    passes = train_epochs(config, nets, seeds, rows, labels, all_rows)
    started = time.perf_counter()
    for lr, train_loss, train_accuracy in tqdm(
        passes, total=config.passes, unit="epoch", desc=f"{len(seeds)} heads", disable=None
    ):
        with torch.no_grad():
            val_loss, val_accuracy = scores(nets(val.features), val.labels.expand(len(seeds), -1))
        if len(histories[0]) <= config.judged_from:
            best_accuracy.fill_(-1)
        better = val_accuracy > best_accuracy
        best_accuracy[better] = val_accuracy[better]
        for kept, current in zip(best.parameters(), nets.parameters(), strict=True):
            kept.data[better] = current.data[better]
        now = time.perf_counter()
        share, started = round((now - started) / len(seeds), 6), now
        columns = (train_loss, train_accuracy, val_loss, val_accuracy)
        for history, values in zip(histories, torch.stack(columns, dim=1).tolist(), strict=True):
            named = dict(zip(_COLUMNS, values, strict=True))
            history.append(EpochRecord(epoch=len(history) + 1, lr=lr, seconds=share, **named))
    return best, histories


_COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def _table(spreads: Mapping[Which, Spread]) -> str:
    lines = [f"{'val accuracy':12}  {'mean':>6}  {'sd':>6}  {'min':>6}  {'median':>6}  {'max':>6}"]
    for which, row in spreads.items():
        values = (row.mean, row.standard_deviation, row.min, row.quartiles[1], row.max)
        lines.append(f"{which + ' epoch':12}  " + "  ".join(f"{value:6.4f}" for value in values))
    return "\n".join(lines)
