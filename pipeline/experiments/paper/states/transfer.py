"""Rows QC and QQ: what a pretrained quantum network is worth to a classical head, and to a quantum one.

In: network A of :mod:`pipeline.experiments.paper.states.extractor`, cut. QC: its measured features, cached, and a
linear head on them. QQ: its states go on, unmeasured, into trained layers. Each beside the same without pretraining.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from features.cache.featureset import FeatureSet
from features.cache.store import read_features
from pipeline.experiments.paper.fit import fit
from pipeline.experiments.paper.images import train_heads
from pipeline.experiments.paper.networks import StateClassifier
from pipeline.experiments.paper.row import Context, Entry, Job, RowResult
from pipeline.experiments.paper.states import extractor as a
from pipeline.experiments.paper.states.tetrominoes import CLASSES, N_QUBITS, PICTURES
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.circuit import Circuit
from pipeline.training.config import TrainConfig
from pipeline.training.samples import Samples
from pipeline.util.drawing import keep, style

TASK = "seven tetromino states, noise 0.6"
NEW = Circuit(n_qubits=N_QUBITS, depth=a.WHOLE.depth - a.KEPT.depth)
EVERY = 50
DIFFERS = (
    "the paper's QC and QQ are in continuous variables (two modes of light for QC; for QQ one mode, Gaussian states "
    "against others), ours in qubits: the published numbers are of another task and stand here for orientation only"
)


def prepare_qc(context: Context) -> Job:
    """A linear head on the measured features of the pretrained circuit, and of the same circuit untrained."""
    return Job(settings=_settings(), run=partial(_run_qc, context))


def prepare_qq(context: Context) -> Job:
    """Trained layers behind the pretrained circuit, and the same without it, untrained, or measured between."""
    return Job(settings=_settings() | {"new layers": NEW.depth}, run=partial(_run_qq, context))


def _settings() -> dict[str, Any]:
    return {
        "templates": PICTURES,
        "noise": [a.WEAK_NOISE, a.STRONG_NOISE],
        "layers": [a.WHOLE.depth, a.KEPT.depth],
        "training": [a.N_EACH, a.BATCH, a.LR],
    }


def _run_qc(context: Context) -> RowResult:
    from pipeline.experiments.paper.states.pictures import draw_tetrominoes

    states = a.samples(context.seeds, a.STRONG_NOISE)
    pretrained, untrained = a.extractor(context.seeds), a.extractor(context.seeds, pretrained=False)
    linear = TrainConfig(head="linear", epochs=1, batch=a.BATCH, lr=a.LR)
    entries = []
    for words, published, network in (("pretrained", 0.8067, pretrained), ("untrained", None, untrained)):
        caches = _caches(context, network, words, states)
        model = f"{words} A, measured, linear head"
        entries.append(train_heads(linear, caches, context.seeds, task=TASK, model=model, published=published))
    caught = sum(pretrained.accuracies) / len(context.seeds)
    with style():
        picture = keep(draw_tetrominoes(states[1], pretrained.unitaries), context.out, "tetrominoes")
    return RowResult(
        entries=entries,
        notes=[
            DIFFERS,
            f"before the cut, A recognises the states under noise {a.WEAK_NOISE} with accuracy {caught:.3f}",
        ],
        pictures={"tetrominoes.png": picture},
    )


def _run_qq(context: Context) -> RowResult:
    from pipeline.experiments.paper.states.pictures import draw_curves

    states = train, test = a.samples(context.seeds, a.STRONG_NOISE)
    pretrained, untrained = a.extractor(context.seeds), a.extractor(context.seeds, pretrained=False)
    entries, curves = [], {}
    for model, network, published in (
        ("pretrained A, frozen, then 2 new layers", _classifier(context, NEW, frozen=pretrained), 0.8755),
        ("2 new layers alone, from scratch", _classifier(context, NEW), None),
        ("untrained A, frozen, then 2 new layers", _classifier(context, NEW, frozen=untrained), None),
        ("all 8 layers, from scratch", _classifier(context, a.WHOLE), None),
        ("all 8 layers, the first 6 started from A", _classifier(context, a.WHOLE, start=pretrained), None),
    ):
        started = time.perf_counter()
        curve = fit(network, train, test, seeds=context.seeds, lr=a.LR, batch=a.BATCH, steps=a.STEPS, every=EVERY)
        curves[model] = curve
        entries.append(
            Entry(
                task=TASK,
                model=model,
                published=published,
                parameters=sum(p.numel() for p in network.parameters()) // len(context.seeds),
                last=curve.last,
                seconds=round(time.perf_counter() - started, 2),
            )
        )
    dressed = TrainConfig(epochs=1, batch=a.BATCH, lr=a.LR)
    caches = _caches(context, pretrained, "pretrained", states)
    entries.append(
        train_heads(dressed, caches, context.seeds, task=TASK, model="pretrained A, measured, dressed quantum head")
    )
    with style():
        picture = keep(draw_curves(curves), context.out, "transfer")
    return RowResult(
        entries=entries,
        notes=[DIFFERS],
        pictures={"transfer.png": picture},
        curves=curves,
    )


def _classifier(
    context: Context, circuit: Circuit, *, frozen: a.Extractor | None = None, start: a.Extractor | None = None
) -> StackedHeads:
    """Network B: new layers, behind frozen ones if there are any; the first started from others' angles if given."""
    unitaries = [None] * len(context.seeds) if frozen is None else list(frozen.unitaries)
    network = stack(
        [
            StateClassifier(seed, circuit, len(CLASSES), frozen=unitary)
            for seed, unitary in zip(context.seeds, unitaries, strict=True)
        ]
    )
    if start is not None:
        network.head.get_parameter("q_params").data[:, : start.weights.shape[1]] = start.weights
    return network


def _caches(context: Context, network: a.Extractor, words: str, states: tuple[Samples, Samples]) -> list[FeatureSet]:
    """The measured features of every seed's states, in a file each."""
    folder = context.out / "states"
    return [
        read_features(a.write_cache(folder / f"{words}-{seed}.h5", seed, network, index, *states).path)
        for index, seed in enumerate(context.seeds)
    ]
