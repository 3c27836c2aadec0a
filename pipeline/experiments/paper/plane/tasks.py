"""The dressed circuit alone: points in the plane, told apart by the circuit between two small layers and by controls.

In the published notebooks all parameters start as 0.001 · randn. The classical control learns much worse from there
than from torch's own initial weights. So both models also start from the latter, as tasks of their own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from pipeline.experiments.paper.fit import fit
from pipeline.experiments.paper.networks import ClassicalControl
from pipeline.experiments.paper.plane.points import N_TRAIN, draw
from pipeline.experiments.paper.plane.regions import Regions, class_one_over_the_plane, draw_regions
from pipeline.experiments.paper.row import Context, Curve, Entry, Job, RowResult
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.training.samples import Samples
from pipeline.util.drawing import keep, style

N_QUBITS, DEPTH = 5, 5
BATCH, STEPS, SPREAD = 10, 1000, 0.001
TASKS = {
    "spirals-1.52": ("two spirals, 1.52 turns", 0.07, {"quantum": 0.970, "classical": 0.855}),
    "spirals-2": ("two spirals, 2 turns", 0.07, {"quantum": 0.625, "classical": 0.540}),
    "square": ("square", 0.1, {"quantum": 0.930, "classical": 0.905}),
    "moons": ("moons", 0.1, {"quantum": 0.965, "classical": 0.975}),
}
MODELS = {
    "quantum": "dressed circuit",
    "classical": "classical control, 2 → 5 → 5 → 2",
    "no entanglement": "dressed circuit without CNOTs",
}
PUBLISHED_START, TORCHS_START = "", ", torch's initial weights"
TRAINED = [(PUBLISHED_START, model) for model in MODELS] + [(TORCHS_START, "quantum"), (TORCHS_START, "classical")]


def prepare(names: Sequence[str], picture: str, context: Context) -> Job:
    """A row of some of the tasks, with a picture of the regions that the published two models make of the plane."""
    settings = {
        "tasks": {name: [lr, TRAINED] for name, (_, lr, _) in TASKS.items() if name in names},
        "circuit": [N_QUBITS, DEPTH],
        "training": [BATCH, STEPS, SPREAD],
    }
    return Job(settings=settings, run=partial(_run, names, picture, context))


prepare_spirals = partial(prepare, ("spirals-1.52", "spirals-2"), "spirals.png")
prepare_shapes = partial(prepare, ("square", "moons"), "shapes.png")


def _run(names: Sequence[str], picture: str, context: Context) -> RowResult:
    entries: list[Entry] = []
    regions: list[Regions] = []
    for name in names:
        task, _, published = TASKS[name]
        _, test = _samples(name, context.seeds)
        shown, models = 0, {}
        for start, model in TRAINED:
            started = time.perf_counter()
            networks, curve = trained(name, start, model, context.seeds)
            entries.append(
                Entry(
                    task=task + start,
                    model=MODELS[model],
                    published=published.get(model) if start == PUBLISHED_START else None,
                    parameters=sum(p.numel() for p in networks.parameters()) // len(context.seeds),
                    last=curve.last,
                    seconds=round(time.perf_counter() - started, 2),
                )
            )
            if (start, model) == TRAINED[0]:
                shown = median_seed(curve.last)
            if entries[-1].published is not None:
                models[MODELS[model]] = (class_one_over_the_plane(networks)[shown], curve.last[shown])
        points, labels = test.features[shown].numpy(), test.labels[shown].numpy()
        regions.append(Regions(title=task, points=points, labels=labels, models=models))
    with style():
        words = keep(draw_regions(regions), context.out, picture.removesuffix(".png"))
    return RowResult(
        entries=entries,
        notes=["points are drawn anew for every seed; the published numbers are one run each, after the last step"],
        pictures={picture: words},
    )


def trained(name: str, start: str, model: str, seeds: Sequence[int]) -> tuple[StackedHeads, Curve]:
    """Networks of a model on a task, one a seed, and their test accuracy at the end.

    Args:
        name: Of ``TASKS``.
        start: ``PUBLISHED_START`` or ``TORCHS_START``.
        model: Of ``MODELS``.
        seeds: Of points, initial weights and orders.
    """
    train, test = _samples(name, seeds)
    networks = _networks(model, seeds, SPREAD if start == PUBLISHED_START else None)
    lr = TASKS[name][1]
    return networks, fit(networks, train, test, seeds=seeds, lr=lr, batch=BATCH, steps=STEPS, every=STEPS)


def median_seed(accuracies: list[float]) -> int:
    """The index of the seed in the middle, neither lucky nor unlucky."""
    return int(np.argsort(accuracies, kind="stable")[len(accuracies) // 2])


def _samples(name: str, seeds: Sequence[int]) -> tuple[Samples, Samples]:
    drawn = [draw(name, seed) for seed in seeds]
    points = torch.from_numpy(np.stack([points for points, _ in drawn]))
    labels = torch.from_numpy(np.stack([labels for _, labels in drawn]))
    train = Samples(features=points[:, :N_TRAIN], labels=labels[:, :N_TRAIN])
    return train, Samples(features=points[:, N_TRAIN:], labels=labels[:, N_TRAIN:])


def _networks(model: str, seeds: Sequence[int], spread: float | None) -> StackedHeads:
    if model == "classical":
        return stack([ClassicalControl(seed, N_QUBITS, spread) for seed in seeds])
    heads = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            entangler = "none" if model == "no entanglement" else "chain"
            heads.append(DressedQuantumNet(2, 2, N_QUBITS, DEPTH, simulator="dense", entangler=entangler))
            if spread is not None:
                for parameter in heads[-1].parameters():
                    parameter.data.normal_(0, spread)
    return stack(heads)
