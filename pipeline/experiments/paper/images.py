"""Rows CC and CQ: heads on the cached features of images.

In: feature caches of stage 1. Out: accuracies of heads trained with the settings that the paper printed for each task.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from features.cache.featureset import FeatureSet
from features.cache.store import read_features
from features.config import ExtractConfig
from features.extract import make_features
from features.util.errors import InputError
from pipeline.experiments.paper.row import Context, Entry, Job, RowResult
from pipeline.heads.registry import new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import one_thread
from pipeline.training.multi_seed import scores, train_epochs

LIMIT = 5000
"""Images of each class for training: all that CIFAR-10 has. Another 1000 are for testing."""
CLASSICAL = "classical head, 512 → 4 → tanh → 2"

Heads = list[tuple[TrainConfig, str, float | None]]


def prepare_cc(context: Context) -> Job:
    """The linear and the classical head on ants and bees."""
    features = _ants_and_bees(context)
    linear, classical = TrainConfig(head="linear"), TrainConfig(head="classical")
    heads: Heads = [(linear, "linear head, 512 → 2", 0.9542), (classical, CLASSICAL, None)]
    return _job(context, "ants / bees", features, heads)


def prepare_cq(context: Context) -> Job:
    """The dressed quantum head on ants and bees."""
    features = _ants_and_bees(context)
    return _job(context, "ants / bees", features, [(TrainConfig(), "dressed quantum head", 0.9673)])


def prepare_cats_dogs(context: Context) -> Job:
    """The dressed quantum head on cats and dogs of CIFAR-10, and the classical one beside it."""
    config = TrainConfig(depth=5, lr=1e-3, batch=8, epochs=3)
    return _cifar_job(context, "cats / dogs", ("cat", "dog"), config, 0.8270)


def prepare_planes_cars(context: Context) -> Job:
    """The dressed quantum head on planes and cars of CIFAR-10, and the classical one beside it."""
    config = TrainConfig(depth=4, lr=7e-4, batch=8, epochs=3)
    return _cifar_job(context, "planes / cars", ("airplane", "automobile"), config, 0.9605)


def train_heads(config: TrainConfig, caches: Sequence[FeatureSet], seeds: Sequence[int], **described: Any) -> Entry:
    """Train one kind of head from every seed, all together.

    Args:
        config: Hyperparameters; its seed is not used.
        caches: One cache for all seeds, or one for each, all of one shape.
        seeds: Of the initial weights and of the order of the samples.
        described: The fields ``task``, ``model`` and ``published`` of the entry.
    """
    width, n_classes = caches[0].width, len(caches[0].provenance.classes)
    heads = [new_head(replace(config, seed=seed, simulator="dense"), width, n_classes) for seed in seeds]
    networks = stack(heads)
    features = torch.cat([torch.from_numpy(cache.train.features) for cache in caches])
    labels = torch.cat([torch.from_numpy(cache.train.labels) for cache in caches])
    rows = torch.arange(len(labels)).reshape(len(caches), -1).expand(len(seeds), -1)
    val_features = torch.stack([torch.from_numpy(cache.val.features) for cache in caches]).expand(len(seeds), -1, -1)
    val_labels = torch.stack([torch.from_numpy(cache.val.labels) for cache in caches]).expand(len(seeds), -1)
    accuracies = []
    started = time.perf_counter()
    with one_thread():
        for _ in train_epochs(config, networks, seeds, features, labels, rows):
            with torch.no_grad():
                accuracies.append(scores(networks(val_features), val_labels)[1])
    return Entry(
        **described,
        parameters=heads[0].n_trainable,
        last=accuracies[-1].tolist(),
        best=torch.stack(accuracies).amax(dim=0).tolist() if config.epochs > 1 else None,
        seconds=round(time.perf_counter() - started, 2),
    )


def _job(context: Context, task: str, features: FeatureSet, heads: Heads) -> Job:
    settings = {
        "features": features.content_sha256,
        "heads": [[model, _hyperparameters(config)] for config, model, _ in heads],
    }
    return Job(settings=settings, run=partial(_run, context, task, features, heads))


def _run(context: Context, task: str, features: FeatureSet, heads: Heads) -> RowResult:
    entries = [
        train_heads(config, [features], context.seeds, task=task, model=model, published=published)
        for config, model, published in heads
    ]
    source = features.provenance
    rows = f"{len(features.train.labels)} training and {len(features.val.labels)} validation images"
    return RowResult(entries=entries, notes=[f"{task}: {rows}, features by {source.backbone} with {source.weights}"])


def _ants_and_bees(context: Context) -> FeatureSet:
    """The features of the paper's own images.

    Raises:
        InputError: If they are of other images, beside which the published numbers would mean nothing.
    """
    features = read_features(context.features)
    if set(features.provenance.classes) != {"ants", "bees"}:
        raise InputError(
            f"{context.features} holds {', '.join(features.provenance.classes)}; the published number is for ants and "
            "bees: give --features of these (make paper without DATA=), or compare heads on your own images by "
            "`make compare`"
        )
    return features


def _cifar_job(context: Context, task: str, classes: tuple[str, str], config: TrainConfig, published: float) -> Job:
    features = _cifar_features(context, classes)
    heads: Heads = [(config, "dressed quantum head", published), (replace(config, head="classical"), CLASSICAL, None)]
    return _job(context, task, features, heads)


def _cifar_features(context: Context, classes: tuple[str, str]) -> FeatureSet:
    """The cache in the paper's folder; where there is none, stage 1 makes it.

    Raises:
        InputError: With stage 1's own reason, if it can't.
    """
    path = context.out / f"{'-'.join(classes)}.h5"
    if not path.is_file():
        print(f"making {path}, which takes minutes", flush=True)
        make_features(
            ExtractConfig(data=context.cifar, classes=",".join(classes), limit=LIMIT, weights=context.weights, out=path)
        )
    features = read_features(path)
    if sorted(features.provenance.classes) != sorted(classes):
        raise InputError(f"{path} holds {', '.join(features.provenance.classes)}, not {', '.join(classes)}; remove it")
    return features


def _hyperparameters(config: TrainConfig) -> dict[str, Any]:
    names = ("head", "qubits", "depth", "entangler", "q_delta", "epochs", "batch", "lr", "lr_step", "lr_gamma")
    return {name: value for name, value in asdict(config).items() if name in names}
