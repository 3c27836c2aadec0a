"""The search for hyperparameters: ``python -m pipeline sweep``, with Optuna.

In: a ``SweepConfig``. Out: in its folder, the journal of all trials, ``sweep.json``, ``sweep.html`` and pictures.
A trial trains one setting on all folds of all repeats side by side, and looks at nothing but the training features.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from features.cache.featureset import FeatureSet, Split
from features.cache.store import read_features
from features.util.errors import InputError
from features.util.files import write_text
from features.util.provenance import versions
from pipeline.experiments.sweep.config import SweepConfig
from pipeline.experiments.sweep.page import command, document_of, flags, words
from pipeline.experiments.sweep.study import SEARCHED, best, connect, done, need_optuna, open_study, qubits_of
from pipeline.heads.registry import new_head
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.pages.document import write_document
from pipeline.quantum.autograd import NonFiniteError
from pipeline.quantum.choices import ENTANGLERS, Entangler
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import one_thread
from pipeline.training.folder import make_folder
from pipeline.training.multi_seed import Spread, scores, train_epochs
from pipeline.training.samples import samples_of
from pipeline.util.drawing import style
from pipeline.util.records import to_record

if TYPE_CHECKING:
    from optuna import Study, Trial

FORMAT_VERSION = 1
BATCHES = (4, 8, 16, 32)
JUDGES = 5
"""Initial weights that the winner is judged on, for each repeat of the search."""
LEAST_FOR_IMPORTANCES = 4


def sweep(config: SweepConfig) -> dict[str, Any]:
    """Try settings until there are ``config.trials``, then judge the best one; the record that ``sweep.json`` holds.

    Raises:
        InputError: If Optuna is not installed, the features can't be used, another sweep is writing the folder, or no
            trial came to its end.
        KeyboardInterrupt: At Ctrl-C; all trials that are done are kept.
    """
    need_optuna()
    features = read_features(config.features)
    rarest = int(np.bincount(features.train.labels).min())
    if config.folds > rarest:
        raise InputError(f"--folds is {config.folds}, and a class has {rarest} training samples; take fewer folds")
    least, most = qubits_of(config, features)
    make_folder(config.out)
    with _only_one(config.out):
        paper = TrainConfig()
        first = replace(paper, qubits=min(max(paper.qubits, least), most))
        study = open_study(config, features, {name: getattr(first, name) for name in SEARCHED})
        print(
            f"searching {', '.join(SEARCHED)} by cross-validation within the {len(features.train.labels)} training "
            f"samples of {config.features}: {done(study)} of {config.trials} trials are done"
        )
        started = time.perf_counter()
        _try_settings(config, study, (least, most))
        record = _record(config, features, study, time.perf_counter() - started)
        record["importances"] = _importances(study, record["trials"])
        (config.out / "importance.png").unlink(missing_ok=True)
        write_text(config.out / "sweep.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        with style():
            page = write_document(document_of(config, record), config.out, "sweep")
    print(words(config, record, page))
    return record


def inner_accuracies(config: TrainConfig, split: Split, folds: int, repeats: int) -> Iterator[list[float]]:
    """Cross-validated accuracy of a setting after each epoch, one number for each repeat.

    Args:
        config: The setting; its seed is that of folds, initial weights and order.
        split: The samples to divide, none of which is ever trained on and scored by the same head.
        folds: Parts, stratified by class, each held out once.
        repeats: Repetitions, each with other folds.
    """
    from sklearn.model_selection import StratifiedKFold

    rows, labels = samples_of(split)
    seeds = [config.seed + repeat for repeat in range(repeats)]
    parts = [
        part
        for seed in seeds
        for part in StratifiedKFold(folds, shuffle=True, random_state=seed).split(split.features, split.labels)
    ]
    # Folds differ by a few samples, and heads side by side need equally many: some train on that many fewer.
    n_train = min(len(train) for train, _ in parts)
    rngs = [np.random.default_rng([config.seed, index]) for index in range(len(parts))]
    kept = [rng.permutation(train)[:n_train] for rng, (train, _) in zip(rngs, parts, strict=True)]
    held_out = torch.zeros(len(parts), len(labels), dtype=torch.bool)
    for head, (_, part) in enumerate(parts):
        held_out[head, torch.from_numpy(part)] = True
    head_seeds = [seed * folds + fold for seed in seeds for fold in range(folds)]
    networks = _networks(config, head_seeds, split.features.shape[1], int(split.labels.max()) + 1)
    for _ in train_epochs(config, networks, head_seeds, rows, labels, torch.from_numpy(np.stack(kept))):
        with torch.no_grad():
            right = (networks(rows).argmax(dim=-1) == labels) & held_out
        yield (right.view(repeats, -1).sum(dim=1) / len(labels)).tolist()


def _networks(config: TrainConfig, seeds: list[int], width: int, n_classes: int) -> StackedHeads:
    return stack([new_head(replace(config, seed=seed), width, n_classes) for seed in seeds])


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder against other sweeps; the lock goes with the process, however it ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another sweep is at work in {folder}; wait for it, or name another --out") from None
        yield


def _try_settings(config: SweepConfig, study: Study, qubits: tuple[int, int]) -> None:
    """Let processes work on the study until it has enough trials, and show how far they are."""
    from tqdm import tqdm

    missing = config.trials - done(study)
    jobs = min(config.jobs or os.cpu_count() or 1, missing)
    if missing <= 0:
        return
    # Processes started with Ctrl-C ignored go on ignoring it: it is this one that ends them.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = multiprocessing.get_context("spawn")
    shares = [len(range(index, missing, jobs)) for index in range(jobs)]
    workers = [
        context.Process(target=_work, args=(config, qubits, share, os.getpid(), index))
        for index, share in enumerate(shares)
    ]
    try:
        for worker in workers:
            worker.start()
        signal.signal(signal.SIGINT, before)
        with tqdm(total=config.trials, initial=done(study), unit="trial", desc="sweep", disable=None) as bar:
            counted, leader = done(study), best(study)
            alive = True
            while alive:
                alive = any(worker.is_alive() for worker in workers)
                time.sleep(0.2 if alive else 0)
                now, ahead = done(study), best(study)
                bar.update(now - counted)
                if ahead is not None and (leader is None or ahead.values > leader.values):
                    tqdm.write(f"trial {ahead.number}: accuracy {ahead.values[0]:.4f}  {flags(ahead.params)}")
                counted, leader = now, ahead
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {done(study)} of {config.trials} trials are kept in {config.out}, and the same command goes on"
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
            if worker.pid is not None:
                worker.join()
    if any(worker.exitcode for worker in workers):
        raise InputError(f"a process of the search failed, as told above; {done(study)} trials are kept")


def _work(config: SweepConfig, qubits: tuple[int, int], n_trials: int, parent: int, index: int) -> None:
    """What each process does: try settings, one after the other."""
    need_optuna()
    features = read_features(config.features)
    begun = len(connect(config, features).get_trials(deepcopy=False))
    # Another stream of random settings for each process, and after each resumption.
    seed = int(np.random.default_rng([config.seed, begun, index]).integers(2**31))
    study = connect(config, features, seed)
    with one_thread(), np.errstate(over="ignore", invalid="ignore"):
        study.optimize(lambda trial: _value(config, features, qubits, trial, parent), n_trials=n_trials)


def _value(config: SweepConfig, features: FeatureSet, qubits: tuple[int, int], trial: Trial, parent: int) -> float:
    """Accuracy of a trial's setting at the last epoch, cross-validated within the training samples."""
    from optuna import TrialPruned

    setting = TrainConfig(
        circuit=config.circuit,
        qubits=trial.suggest_int("qubits", *qubits),
        depth=trial.suggest_int("depth", 1, 10),
        entangler=cast(Entangler, trial.suggest_categorical("entangler", ENTANGLERS)),
        q_delta=trial.suggest_float("q_delta", 1e-3, 3.0, log=True),
        lr=trial.suggest_float("lr", 1e-4, 3e-2, log=True),
        batch=trial.suggest_categorical("batch", BATCHES),
        epochs=config.epochs,
        seed=config.seed,
        simulator="dense",
    )
    try:
        for epoch, of_repeats in enumerate(inner_accuracies(setting, features.train, config.folds, config.repeats)):
            if os.getppid() != parent:
                raise SystemExit(f"the sweep that started this process is gone; trial {trial.number} is given up")
            accuracy = float(np.mean(of_repeats))
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise TrialPruned
    except NonFiniteError as error:
        raise TrialPruned from error
    return accuracy


def _record(config: SweepConfig, features: FeatureSet, study: Study, seconds: float) -> dict[str, Any]:
    """All trials, the best of them, and how its setting fares on the validation features, looked at only here."""
    winner = best(study)
    if winner is None:
        raise InputError(f"none of {done(study)} trials came to its end; try more: --trials")
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "accuracy": trial.value if trial.state.name == "COMPLETE" else None,
            "epochs": len(trial.intermediate_values),
            **trial.params,
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished()
    ]
    paper = TrainConfig()
    papers = [
        trial["accuracy"] for trial in trials if all(trial.get(name) == getattr(paper, name) for name in SEARCHED)
    ]
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {item.name: getattr(config, item.name) for item in fields(config)}
        | {"features": str(config.features), "out": str(config.out)},
        "features_sha256": features.content_sha256,
        "versions": versions(),
        "seconds": round(seconds, 1),
        "best": {"trial": winner.number, "setting": winner.params, "inner_accuracy": winner.value},
        "paper_inner_accuracy": papers[0] if papers else None,
        "validation": to_record(_judge(config, features, winner.params)),
        "command": command(config, winner.params),
        "trials": trials,
    }


def _judge(config: SweepConfig, features: FeatureSet, setting: dict[str, Any]) -> Spread:
    """Validation accuracy at the last epoch of heads trained on all training features, over many initial weights."""
    seeds = [config.seed + index for index in range(JUDGES * config.repeats)]
    train_config = TrainConfig(**setting, circuit=config.circuit, epochs=config.epochs, simulator="dense")
    networks = _networks(train_config, seeds, features.width, len(features.provenance.classes))
    rows, labels = samples_of(features.train)
    val = samples_of(features.val)
    with one_thread():
        for _ in train_epochs(
            train_config, networks, seeds, rows, labels, torch.arange(len(labels)).expand(len(seeds), -1)
        ):
            pass
        with torch.no_grad():
            accuracies = scores(networks(val.features), val.labels.expand(len(seeds), -1))[1]
    return Spread.of(accuracies.tolist())


def _importances(study: Study, trials: list[dict[str, Any]]) -> dict[str, float] | None:
    """What share of the spread in accuracy each hyperparameter explains; None while too few trials tell of it."""
    import optuna

    if len({trial["accuracy"] for trial in trials} - {None}) < LEAST_FOR_IMPORTANCES:
        return None
    # Optuna calls its evaluator experimental.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study)
