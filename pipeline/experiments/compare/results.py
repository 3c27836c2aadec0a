"""From the trainings of a comparison to its figures.

In: the results of all blocks. Out: for each data set, design (k-fold on all images, on a few a class, over these sizes,
published split) and head, the metric, the difference to the reference, and their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.util.errors import InputError
from pipeline.experiments.compare.record import (
    K_FOLD,
    OVER_SIZES,
    PUBLISHED,
    BlockResult,
    HeadFigures,
    PartFigures,
    TrialResult,
    design_of_size,
)
from pipeline.experiments.statistics import estimate, holm, on_logit_scale, smallest_visible
from pipeline.util.metrics import METRICS

Trainings = Mapping[str, Sequence[TrialResult]]
"""The trainings of each head."""


@dataclass(frozen=True)
class Design:
    """The values of all heads in one design of one data set, each of shape (J,), paired by seed and fold."""

    values: dict[str, np.ndarray]
    best_on_test: dict[str, float | None]
    overlap: float
    learned: float
    """Images that a head learned from, in the mean."""


def trainings(blocks: Sequence[BlockResult]) -> dict[str, list[TrialResult]]:
    """The trainings of each head, by name, in the order of design, seed and fold."""
    found: dict[str, list[TrialResult]] = {}
    for block in sorted(blocks, key=lambda block: block.head):
        found.setdefault(block.head, []).extend(block.trainings)
    return {
        head: sorted(own, key=lambda each: (each.design, each.size or 0, each.seed, each.fold or 0))
        for head, own in found.items()
    }


def figures(
    found: Mapping[str, Trainings], heads: Sequence[str], reference: str, metric: str, sizes: Sequence[int] = ()
) -> dict[str, dict[str, dict[str, HeadFigures]]]:
    """For each data set, design and head: the metric, its flattered accuracy, the difference to the reference.

    Holm's correction is over all that is tested on other images: heads, sizes and data sets together. The published
    split, which tells of its own images alone, and the mean over sizes, which sums up the others, are families of their
    own.

    Args:
        found: For each data set the trainings of each head, all on the same seeds and folds.
        heads: Their names, in the order wanted.
        reference: The head to compare to.
        metric: What is compared, of ``METRICS``.
        sizes: The images a class that heads learned from beside all.
    """
    curve = [*(design_of_size(size) for size in sorted(sizes)), K_FOLD]
    designs = {
        name: {design: values_of(name, own, heads, design, metric) for design in (*curve, PUBLISHED)}
        for name, own in found.items()
    }
    families = [curve, [PUBLISHED]]
    if sizes:
        for own in designs.values():
            own[OVER_SIZES] = over_sizes([own[design] for design in curve])
        families.append([OVER_SIZES])
    judged: dict[str, dict[str, dict[str, HeadFigures]]] = {name: {} for name in designs}
    for family in families:
        places = {(name, design): own[design] for name, own in designs.items() for design in family}
        for (name, design), rows in _family(places, reference, metric).items():
            judged[name][design] = rows
    return judged


def values_of(set_name: str, found: Trainings, heads: Sequence[str], design: str, metric: str) -> Design:
    """What a metric says of every training of these heads in a design of one data set.

    Raises:
        InputError: If it has no value on some test images.
    """
    of_head = {head: [each for each in found[head] if each.design == design] for head in heads}
    pairs = [[(each.seed, each.fold) for each in own] for own in of_head.values()]
    assert all(own == pairs[0] for own in pairs), "heads differ in seeds or folds"
    values = {head: [each.value(metric) for each in own] for head, own in of_head.items()}
    if any(value is None for own in values.values() for value in own):
        raise InputError(f"--metric is {metric}, which has no value on some test images of {set_name}; take another")
    # Seeds on one split share all their images, so only chance tells them apart: see statistics.
    folds = [] if design == PUBLISHED else of_head[heads[0]]
    return Design(
        values={head: np.array(own, dtype=float) for head, own in values.items()},
        best_on_test={head: float(np.mean([each.best_accuracy for each in own])) for head, own in of_head.items()},
        overlap=_overlap(folds),
        learned=float(np.mean([each.n_train + each.n_inner for each in of_head[heads[0]]])),
    )


def over_sizes(curve: Sequence[Design]) -> Design:
    """The mean of the learning curve over the logarithm of the size: the area below it, over its width."""
    curve = sorted(curve, key=lambda each: each.learned)
    places = [each.learned for each in curve]
    return Design(
        values={head: mean_over_log([each.values[head] for each in curve], places) for head in curve[0].values},
        best_on_test=dict.fromkeys(curve[0].values),
        overlap=curve[0].overlap,
        learned=places[-1],
    )


def mean_over_log(curve: Sequence[np.ndarray], places: Sequence[float]) -> np.ndarray:
    """The mean of a curve over the logarithm of the place, by the trapezoidal rule.

    Args:
        curve: For each place the values, each of shape (J,).
        places: Two or more, ascending.
    """
    logarithms = np.log(places)
    return np.asarray(np.trapezoid(np.stack(curve), logarithms, axis=0) / (logarithms[-1] - logarithms[0]))


def parts(found: Trainings, heads: Sequence[str]) -> dict[str, dict[str, PartFigures]]:
    """For each head with a circuit, what each part of it is worth: the cost of taking it away, in cross-validation."""
    judged: dict[str, dict[str, PartFigures]] = {}
    for head in heads:
        folds = [each for each in found[head] if each.design == K_FOLD and each.ablations]
        for name in folds[0].ablations if folds else ():
            pairs = [(each.accuracy, without) for each in folds if (without := each.ablations[name]) is not None]
            if len(pairs) == len(folds):
                whole, left = np.array(pairs).T
                cost = estimate(whole - left, _overlap(folds)).within(-1, 1)
                judged.setdefault(head, {})[name] = PartFigures(accuracy=float(left.mean()), cost=cost)
    return judged


def _overlap(folds: Sequence[TrialResult]) -> float:
    """Of folds, their test images over all others, whatever part of these is learned from: see statistics."""
    images = sum(each.n_test for each in folds) // max(1, len({each.seed for each in folds}))
    return float(np.mean([each.n_test / (images - each.n_test) for each in folds])) if folds else 0.0


def _family(
    designs: Mapping[tuple[str, str], Design], reference: str, metric: str
) -> dict[tuple[str, str], dict[str, HeadFigures]]:
    """Figures of designs whose tests are corrected together."""
    differences = {
        (place, head): estimate(design.values[head] - design.values[reference], design.overlap)
        for place, design in designs.items()
        for head in design.values
        if head != reference
    }
    raised = dict(zip(differences, holm([each.p for each in differences.values()]), strict=True))
    least, most = sorted(METRICS[metric].range)
    found: dict[tuple[str, str], dict[str, HeadFigures]] = {}
    for place, design in designs.items():
        for head, values in design.values.items():
            difference = differences.get((place, head))
            found.setdefault(place, {})[head] = HeadFigures(
                value=on_logit_scale(estimate(values, design.overlap), least, most),
                best_on_test=design.best_on_test[head],
                difference=None if difference is None else difference.within(least - most, most - least),
                p_holm=raised.get((place, head)),
                smallest_visible=None
                if difference is None
                else smallest_visible(difference, len(differences), most - least),
            )
    return found
