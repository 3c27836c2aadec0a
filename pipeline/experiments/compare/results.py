"""From every training of a comparison to its figures: what ``compare.json`` holds.

In: the records of all blocks. Out: for each design (k-fold, published split) and head, accuracy, difference to the
reference, and their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.experiments.statistics import estimate, holm, smallest_visible

DESIGNS = ("k-fold", "published")


def trainings(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every training, a flat record each, by head, design, seed and fold."""
    rows = [
        {"head": block["head"], "design": DESIGNS[training["fold"] is None], **training}
        for block in blocks
        for training in block["trainings"]
    ]
    return sorted(rows, key=lambda row: (row["head"], row["design"], row["seed"], row["fold"] or 0))


def figures(rows: Sequence[Mapping[str, Any]], heads: Sequence[str], reference: str) -> dict[str, dict[str, Any]]:
    """For each design and head: accuracy, flattered accuracy, difference to the reference.

    Args:
        rows: What :func:`trainings` returned; each head on the same seeds and folds.
        heads: Their names, in the order wanted.
        reference: The head to compare to.

    Returns:
        ``figures[design][head]`` with ``accuracy`` and ``difference`` (an :class:`Estimate` as a dict; the reference
        has no difference), ``p_holm``, ``smallest_visible`` and ``best_on_test``, the mean over trainings of the
        highest accuracy that any epoch had on the test images.
    """
    return {design: _design([row for row in rows if row["design"] == design], heads, reference) for design in DESIGNS}


def _design(rows: Sequence[Mapping[str, Any]], heads: Sequence[str], reference: str) -> dict[str, Any]:
    of_head = {head: [row for row in rows if row["head"] == head] for head in heads}
    pairs = [[(row["seed"], row["fold"]) for row in own] for own in of_head.values()]
    assert all(own == pairs[0] for own in pairs), "heads differ in seeds or folds"
    accuracies = {head: np.array([row["accuracy"] for row in own]) for head, own in of_head.items()}
    # Seeds on one split share all their images and are told apart by nothing but chance: see statistics.
    folds = [row for row in of_head[reference] if row["fold"] is not None]
    overlap = float(np.mean([row["n_test"] / (row["n_train"] + row["n_inner"]) for row in folds])) if folds else 0.0

    others = [head for head in heads if head != reference]
    differences = {head: estimate(accuracies[head] - accuracies[reference], overlap) for head in others}
    raised = dict(zip(others, holm([differences[head].p for head in others]), strict=True))
    found = {}
    for head in heads:
        difference = differences.get(head)
        found[head] = {
            "accuracy": asdict(estimate(accuracies[head], overlap)),
            "best_on_test": float(np.mean([row["best_accuracy"] for row in of_head[head]])),
            "difference": difference and asdict(difference),
            "p_holm": raised.get(head),
            "smallest_visible": difference and smallest_visible(difference, len(others)),
        }
    return found
