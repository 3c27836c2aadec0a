"""The evidence for a claim: paired differences between its two models, trained on the data at hand.

In: a claim and where its data are. Out: :class:`Evidence`, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from features.util.errors import InputError, shortened
from pipeline.experiments.claims.claim import Claim
from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.experiments.compare.blocks import plan
from pipeline.experiments.compare.comparison import train_blocks
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.folds import pooled
from pipeline.experiments.compare.record import design_of_size
from pipeline.experiments.compare.results import over_sizes, trainings, values_of
from pipeline.experiments.compare.sets import open_sets
from pipeline.experiments.paper.plane.tasks import PUBLISHED_START, TORCHS_START, trained
from pipeline.experiments.simulation import Shape, shift_of, simulated
from pipeline.experiments.statistics import estimate
from pipeline.heads.registry import HEADS
from pipeline.util.markdown import listed

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found for a claim on one data set.

    Attributes:
        data: The data set, in words.
        n: What the result holds for: rows, or seeds that draw their own points.
        head: The mean accuracy of the model that is said to be better.
        reference: That of the other.
        differences: Paired differences, of shape (J,).
        overlap: As :func:`pipeline.experiments.statistics.estimate` takes it.
        null: Differences of a study of the same shape in which nothing differs, drawn by a generator.
    """

    data: str
    n: str
    head: float
    reference: float
    differences: np.ndarray
    overlap: float
    null: Callable[[np.random.Generator], np.ndarray]

    def false_positives(self, simulations: int) -> float:
        """How often the test finds a difference in simulated studies without one: p ≤ 5 %, uncorrected."""
        rng = np.random.default_rng(0)
        p_values = [estimate(self.null(rng), self.overlap).p for _ in range(simulations)]
        return float(np.mean([p is not None and p <= LEVEL for p in p_values]))


def gather(config: ClaimsConfig, claim: Claim, data: str) -> Evidence:
    """Train a claim's models on a data set.

    Raises:
        InputError: With the reason, if the data are not at hand or can't be used.
    """
    if claim.test == "spirals":
        return _spirals(config, data)
    return _cross_validated(config, claim, data, _place(config, data))


def _place(config: ClaimsConfig, data: str) -> Path:
    if data == "vit" and config.vit is None:
        raise InputError("no features of a vision transformer are named: --vit FILE")
    if data == "vit":
        return Path(config.vit or "")
    return config.features if data == "features" else Path(data)


def _cross_validated(config: ClaimsConfig, claim: Claim, data: str, place: Path) -> Evidence:
    names = (claim.head, claim.reference)
    flags = CompareConfig(
        features=place,
        out=config.out,
        seeds=config.seeds,
        seed=config.seed,
        folds=config.folds,
        heads=tuple(name for name in names if name in HEADS),
        circuits=tuple(name for name in names if name not in HEADS),
        reference=claim.reference,
        train_sizes=(*map(str, claim.sizes), "all"),
        workers=config.workers,
        **claim.settings,
    )
    sets = open_sets(flags)
    pools = {name: pooled(features) for name, features in sets.items()}
    for pool in pools.values():
        if claim.classes and set(claim.classes) != set(pool.classes):
            raise InputError(f"the claim is about {listed(claim.classes)}; {place} holds {shortened(pool.classes)}")
    sizes: tuple[int | None, ...] = claim.sizes if claim.test == "few" else (None,)
    planned = [block for block in plan(flags) if block.size in sizes]
    ((name, blocks),) = train_blocks(flags, sets, pools, planned).items()
    found, pool = trainings(blocks), pools[name]
    designs = [values_of(name, found, names, design_of_size(size), "accuracy") for size in sizes]
    design = over_sizes(designs) if len(designs) > 1 else designs[0]
    accuracies = [float(design.values[head].mean()) for head in names]
    shape = Shape(
        counts=tuple(np.bincount(pool.labels).tolist()), folds=config.folds, repetitions=config.seeds, sizes=sizes
    )
    shift = shift_of(float(np.mean(accuracies)), len(pool.classes))

    def null(rng: np.random.Generator) -> np.ndarray:
        drawn = simulated(rng, (shift, shift), shape)
        simple = [
            replace(each, values=dict(zip(names, drawn[size].T, strict=True)))
            for each, size in zip(designs, sizes, strict=True)
        ]
        values = (over_sizes(simple) if len(simple) > 1 else simple[0]).values
        return values[claim.head] - values[claim.reference]

    return Evidence(
        data=name if data in ("features", "vit") else data,
        n=f"{len(pool.labels):,} {pool.noun}",
        head=accuracies[0],
        reference=accuracies[1],
        differences=design.values[claim.head] - design.values[claim.reference],
        overlap=design.overlap,
        null=null,
    )


def _spirals(config: ClaimsConfig, data: str) -> Evidence:
    start = TORCHS_START if data.endswith("torch's initial weights") else PUBLISHED_START
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    curves = (trained("spirals-1.52", start, model, seeds)[1] for model in ("quantum", "classical"))
    quantum, classical = (np.array(curve.last) for curve in curves)
    differences = quantum - classical
    centred = differences - differences.mean()

    def null(rng: np.random.Generator) -> np.ndarray:
        # Seeds are independent; without a difference each could as well be of the other sign.
        return rng.choice(centred, len(centred)) * rng.choice([-1.0, 1.0], len(centred))

    return Evidence(
        data=data,
        n=f"{len(seeds)} seeds, points drawn anew for each",
        head=float(quantum.mean()),
        reference=float(classical.mean()),
        differences=differences,
        overlap=0.0,
        null=null,
    )
