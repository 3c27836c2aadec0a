"""From the trainings of a comparison to its figures.

In: the results of all blocks. Out: for each design (k-fold, published split) and head, accuracy, difference to the
reference, and their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.experiments.compare.record import DESIGNS, BlockResult, HeadFigures, TrialResult
from pipeline.experiments.statistics import estimate, holm, smallest_visible

Trainings = Mapping[str, Sequence[TrialResult]]
"""The trainings of each head."""


def trainings(blocks: Sequence[BlockResult]) -> dict[str, list[TrialResult]]:
    """The trainings of each head, by name, in the order of design, seed and fold."""
    found: dict[str, list[TrialResult]] = {}
    for block in sorted(blocks, key=lambda block: block.head):
        found.setdefault(block.head, []).extend(block.trainings)
    return {head: sorted(own, key=lambda each: (each.design, each.seed, each.fold or 0)) for head, own in found.items()}


def figures(found: Trainings, heads: Sequence[str], reference: str) -> dict[str, dict[str, HeadFigures]]:
    """For each design and head: accuracy, flattered accuracy, difference to the reference.

    Args:
        found: The trainings of each head, all on the same seeds and folds.
        heads: Their names, in the order wanted.
        reference: The head to compare to.
    """
    return {
        design: _design({head: [each for each in found[head] if each.design == design] for head in heads}, reference)
        for design in DESIGNS
    }


def _design(of_head: Trainings, reference: str) -> dict[str, HeadFigures]:
    pairs = [[(each.seed, each.fold) for each in own] for own in of_head.values()]
    assert all(own == pairs[0] for own in pairs), "heads differ in seeds or folds"
    accuracies = {head: np.array([each.accuracy for each in own]) for head, own in of_head.items()}
    # Seeds on one split share all their images, so only chance tells them apart: see statistics.
    folds = [each for each in of_head[reference] if each.fold is not None]
    overlap = float(np.mean([each.n_test / (each.n_train + each.n_inner) for each in folds])) if folds else 0.0

    others = [head for head in of_head if head != reference]
    differences = {head: estimate(accuracies[head] - accuracies[reference], overlap) for head in others}
    raised = dict(zip(others, holm([differences[head].p for head in others]), strict=True))
    found = {}
    for head, own in of_head.items():
        difference = differences.get(head)
        found[head] = HeadFigures(
            accuracy=estimate(accuracies[head], overlap).within(0, 1),
            best_on_test=float(np.mean([each.best_accuracy for each in own])),
            difference=None if difference is None else difference.within(-1, 1),
            p_holm=raised.get(head),
            smallest_visible=None if difference is None else smallest_visible(difference, len(others)),
        )
    return found
