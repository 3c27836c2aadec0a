"""The work of a comparison in blocks: one head from a few seeds, on all their trials of a size, trained side by side.

In: a ``CompareConfig``, a pool of images. Out: a :class:`BlockResult` each, kept as a file of its own, so that a
comparison that was stopped goes on where it was. A block's result depends on nothing except what :func:`key` names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features.cache.featureset import FeatureSet
from features.util.files import write_text
from features.util.provenance import canonical_json
from pipeline.experiments.compare.config import CompareConfig, head_of
from pipeline.experiments.compare.folds import Pool, Trial, trials
from pipeline.experiments.compare.record import BLOCK_VERSION, BlockResult, TrialResult
from pipeline.heads.base import Head
from pipeline.heads.bound import read_source, source_sha256
from pipeline.heads.controls.ablations import PARTS, ablations
from pipeline.heads.registry import HEADS, new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.training.config import Hyperparameters, TrainConfig
from pipeline.training.epochs import one_thread
from pipeline.training.multi_seed import scores, train_epochs
from pipeline.training.objective.weights import class_weights
from pipeline.util.metrics import METRICS
from pipeline.util.records import from_record, to_record
from pipeline.util.tally import score

SEEDS_IN_BLOCK = 10


@dataclass(frozen=True)
class Block:
    """One kind of head from a few seeds, which learns from ``size`` images a class, or from all."""

    head: str
    seeds: tuple[int, ...]
    size: int | None = None

    @property
    def file_name(self) -> str:
        """Where its result is kept."""
        plain = re.sub(r"[^\w.-]+", "-", self.head)
        size = "" if self.size is None else f"-of-{self.size}"
        return f"{plain}{size}-{self.seeds[0]}-{self.seeds[-1]}.json"

    def n_trainings(self, folds: int) -> int:
        """How many trainings it is: the published split is learned whole or not at all."""
        return len(self.seeds) * (folds + (self.size is None))


def plan(config: CompareConfig) -> list[Block]:
    """All blocks of a data set, those that take longest first."""
    seeds = range(config.seed, config.seed + config.seeds)
    parts = [tuple(seeds[start : start + SEEDS_IN_BLOCK]) for start in range(0, len(seeds), SEEDS_IN_BLOCK)]
    heads = sorted(config.names, key=lambda name: not HEADS[head_of(name)[0]].fitted)
    sizes: list[int | None] = [None, *sorted(config.sizes, reverse=True)]
    return [Block(head, part, size) for size in sizes for head in heads for part in parts]


def key(config: CompareConfig, content_sha256: str) -> str:
    """SHA-256 over all that a block's result depends on, except its own head and seeds."""
    values = {item.name: getattr(config, item.name) for item in fields(Hyperparameters)}
    for name in ("features", "out", "seed"):
        del values[name]
    if (config.circuit, config.pre_net) == ("mari", "auto"):
        del values["circuit"], values["pre_net"]  # the key of comparisons made before there were other circuits
    if config.decay_steps is None:
        del values["decay_steps"]  # and before there was this schedule
    if config.class_weights == "none":
        del values["class_weights"]  # and these weights
    named = [text for text in (config.circuit, *config.circuits) if ":" in text]
    if named:
        values["sources"] = {text: source_sha256(read_source(text)) for text in named}
    values |= {"folds": config.folds, "epoch": "inner" if config.early_stopping else "last"}
    values |= {"features": content_sha256, "version": BLOCK_VERSION}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def standing_key(config: CompareConfig, features: FeatureSet) -> str:
    """The key of these features, by the fingerprint under which an earlier version made blocks of them, if one did."""
    keys = [key(config, content_sha256) for content_sha256 in (features.content_sha256, *features.known_as)]
    return next((each for each in keys if blocks_folder(config, each).is_dir()), keys[0])


def blocks_folder(config: CompareConfig, wanted: str) -> Path:
    """Where the blocks of a key are kept."""
    return config.out / "blocks" / wanted[:12]


def read_block(folder: Path, block: Block, wanted: str, metric: str, ablated: bool = False) -> BlockResult | None:
    """The result kept for a block, or None where there is none that is whole, of the same settings and with the metric
    and the ablations, which not all blocks have."""
    try:
        record = json.loads((folder / block.file_name).read_text(encoding="utf-8"))
        result = from_record(BlockResult, record)
        made_for = (record["key"], result.head, result.seeds, record.get("size"))
        same = made_for == (wanted, block.head, list(block.seeds), block.size)
        whole = record["sha256"] == _fingerprint(record["trainings"])
        judged = metric == "accuracy" or all(metric in each.metrics for each in result.trainings)
        if ablated and _has_parts(block):
            judged &= all(each.ablations.keys() == PARTS.keys() for each in result.trainings)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if same and whole and judged else None


def _has_parts(block: Block) -> bool:
    """Whether its heads hold a circuit between two layers, and learned from all."""
    entry = HEADS[head_of(block.head)[0]]
    return block.size is None and entry.of_circuit and not entry.fitted


def write_block(folder: Path, block: Block, result: BlockResult, wanted: str) -> None:
    """Keep a block's result with its key and its checksum, whole or not at all."""
    record = {"key": wanted, "size": block.size, **to_record(result)}
    write_text(folder / block.file_name, json.dumps(record | {"sha256": _fingerprint(record["trainings"])}))


def run_block(config: CompareConfig, block: Block, pool: Pool) -> BlockResult:
    """Train and judge a block's heads, on one thread.

    Raises:
        NonFiniteError: If training diverges.
    """
    from threadpoolctl import threadpool_limits

    started, busy = time.perf_counter(), time.process_time()
    rows, labels = torch.from_numpy(pool.features), torch.from_numpy(pool.labels)
    todo = [
        trial for seed in block.seeds for trial in trials(pool, seed, config.folds, config.early_stopping, block.size)
    ]
    found: list[TrialResult] = []
    # Also so that sums are formed in one order: the same block gives the same bits wherever it runs.
    with threadpool_limits(1), one_thread(), np.errstate(over="ignore", invalid="ignore"):
        if HEADS[head_of(block.head)[0]].fitted:
            found = [_fit(config, block.head, trial, rows, labels, pool) for trial in todo]
        else:
            for _, group in groupby(sorted(todo, key=lambda trial: trial.sizes), key=lambda trial: trial.sizes):
                found += _train(config, block.head, list(group), rows, labels, pool)
    return BlockResult(
        head=block.head,
        seeds=list(block.seeds),
        trainings=sorted(found, key=lambda each: (each.seed, each.fold is None, each.fold)),
        seconds=round(time.perf_counter() - started, 3),
        cpu_seconds=round(time.process_time() - busy, 3),
    )


def settings(config: CompareConfig, head: str, seed: int) -> TrainConfig:
    """The flags with which ``train`` would train one of the heads."""
    shared = {item.name: getattr(config, item.name) for item in fields(Hyperparameters)}
    name, circuit = head_of(head)
    chosen = {"head": name} | ({} if circuit is None else {"circuit": circuit})
    return TrainConfig(**shared | chosen | {"seed": seed, "simulator": "dense"})


def _fit(
    config: CompareConfig, name: str, trial: Trial, rows: torch.Tensor, labels: torch.Tensor, pool: Pool
) -> TrialResult:
    """A head that has no epochs: it is fitted once, to all that may be learned from."""
    head = _new(config, name, trial, pool)
    learned = np.sort(np.concatenate([trial.train, trial.inner]))
    counts = labels[learned].bincount(minlength=len(pool.classes))
    head.prepare(rows[learned], labels[learned], trial.seed, class_weights(settings(config, name, trial.seed), counts))
    with torch.no_grad():
        logits = head(rows[trial.test])
    loss, accuracy = score(logits, labels[trial.test])
    judged = {"metrics": _metrics(logits, labels[trial.test])}
    return _training(trial, epoch=1, accuracy=accuracy, loss=loss, best_epoch=1, best_accuracy=accuracy, **judged)


def _train(
    config: CompareConfig, head: str, alike: list[Trial], rows: torch.Tensor, labels: torch.Tensor, pool: Pool
) -> list[TrialResult]:
    """Train the head for trials of equal sizes, side by side, and look at the test rows after every epoch."""
    nets = stack([_new(config, head, trial, pool) for trial in alike])
    train, inner, test = (
        torch.from_numpy(np.stack([getattr(trial, name) for trial in alike])) for name in ("train", "inner", "test")
    )
    seeds = [trial.seed for trial in alike]
    tested: list[torch.Tensor] = []
    # What is judged: of each head the epoch of lowest inner loss, or the last.
    epochs, lowest = np.zeros(len(alike), dtype=int), torch.full((len(alike),), torch.inf, dtype=torch.float64)
    chosen, judged = torch.ones(len(alike), dtype=torch.bool), torch.zeros(())
    flags = replace(settings(config, head, seeds[0]), epochs=_epochs(config, alike[0], len(labels)))
    for done, _ in enumerate(train_epochs(flags, nets, seeds, rows, labels, train)):
        if done < flags.judged_from:
            continue  # of a phase before the last
        with torch.no_grad():
            logits = nets(rows, test)
            tested.append(torch.stack(scores(logits, labels[test])))
            if config.early_stopping:
                inner_loss = scores(nets(rows, inner), labels[inner])[0]
                chosen, lowest = inner_loss < lowest, torch.minimum(inner_loss, lowest)
        epochs[chosen.numpy()] = len(tested) - 1
        judged = torch.where(chosen[:, None, None], logits, judged)
    ablated = config.ablations and _has_parts(Block(head, (), alike[0].size))
    # Of shape (epochs, heads).
    losses, accuracies = torch.stack(tested, dim=1).numpy()
    best = accuracies.argmax(axis=0)
    return [
        _training(
            trial,
            epoch=flags.judged_from + int(epochs[k]) + 1,
            accuracy=float(accuracies[epochs[k], k]),
            loss=float(losses[epochs[k], k]),
            best_epoch=flags.judged_from + int(best[k]) + 1,
            best_accuracy=float(accuracies[best[k], k]),
            metrics=_metrics(judged[k], labels[test[k]]),
            ablations=_without_parts(config, head, trial, nets.head_state(k), pool) if ablated else {},
        )
        for k, trial in enumerate(alike)
    ]


def _epochs(config: CompareConfig, trial: Trial, n_rows: int) -> int:
    """Epochs to train for: where the schedule counts steps, as many steps from a few rows as from all."""
    if config.decay_steps is None or trial.size is None:
        return config.epochs
    of_all = n_rows - len(trial.test)
    shares = (math.ceil(count / config.batch) for count in (of_all, len(trial.train) + len(trial.inner)))
    return math.ceil(config.epochs * next(shares) / next(shares))


def _new(config: CompareConfig, head: str, trial: Trial, pool: Pool) -> Head:
    return new_head(settings(config, head, trial.seed), pool.features.shape[1], len(pool.classes))


def _training(trial: Trial, **judged: Any) -> TrialResult:
    n_train, n_inner, n_test = trial.sizes
    judged |= {"n_train": n_train, "n_inner": n_inner, "n_test": n_test}
    return TrialResult(seed=trial.seed, fold=trial.fold, size=trial.size, **judged)


def _without_parts(
    config: CompareConfig, name: str, trial: Trial, state: dict[str, torch.Tensor], pool: Pool
) -> dict[str, float | None]:
    """The accuracy of a trained head without each part of its circuit; empty where it has no circuit of two ends."""
    head = _new(config, name, trial, pool)
    head.load_state_dict(state)
    rows, labels = torch.from_numpy(pool.features[trial.test]), torch.from_numpy(pool.labels[trial.test])
    found = ablations(head, rows, labels, seed=trial.seed)
    return {} if isinstance(found, str) else {part.name: part.accuracy for part in found.parts}


def _metrics(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float | None]:
    """Every metric but accuracy, which is there already; None where one has no value on these rows."""
    probabilities, truth = logits.double().softmax(dim=1).numpy(), labels.numpy()
    counts = np.bincount(truth, minlength=logits.shape[1])
    return {
        name: None if metric.undefined(counts) else metric(probabilities, truth)
        for name, metric in METRICS.items()
        if name != "accuracy"
    }


def _fingerprint(trainings: list[dict[str, Any]]) -> str:
    return hashlib.sha256(canonical_json(trainings).encode()).hexdigest()
