"""Figures of a comparison over data sets and sizes, on tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from features.util.errors import InputError
from pipeline.experiments.compare.record import K_FOLD, OVER_SIZES, PUBLISHED, TrialResult, design_of_size
from pipeline.experiments.compare.results import figures, mean_over_log
from pipeline.experiments.simulation import Shape, simulated
from pipeline.experiments.statistics import holm

FOLDS, SEEDS, POINTS, SIZES = 5, 6, 80, (4, 12)
HEADS = ("classical", "quantum", "mlp", "linear")


def trial(seed, fold, size, accuracy, **more):
    n_train = POINTS * (FOLDS - 1) // FOLDS if size is None else 2 * size
    values = {"n_train": n_train, "n_inner": 0, "n_test": POINTS // FOLDS, "epoch": 1, "loss": 0.5, "best_epoch": 1}
    return TrialResult(seed=seed, fold=fold, size=size, accuracy=accuracy, best_accuracy=accuracy, **values, **more)


def learned(rng, shifts):
    """Trainings of simulated heads, whose classes lie ``shifts`` apart; the published split is of the first fold."""
    shape = Shape(counts=(POINTS // 2,) * 2, folds=FOLDS, repetitions=SEEDS, sizes=(None, *SIZES))
    found = {head: [] for head in HEADS}
    for size, table in simulated(rng, shifts, shape).items():
        for place, accuracies in enumerate(table):
            for head, accuracy in zip(HEADS, accuracies, strict=True):
                found[head].append(trial(*divmod(place, FOLDS), size, accuracy))
    for own in found.values():
        own += [trial(seed, None, None, own[0].accuracy) for seed in range(SEEDS)]
    return found


def compared(rng, shifts):
    return figures({name: learned(rng, shifts) for name in ("one", "other")}, HEADS, "classical", "accuracy", SIZES)


def of_family(found, designs):
    return [
        row
        for heads_of in found.values()
        for design in designs
        for row in heads_of[design].values()
        if row.difference is not None
    ]


CURVE = [design_of_size(4), design_of_size(12), K_FOLD]


def test_the_correction_is_over_heads_sizes_and_data_sets():
    found = compared(np.random.default_rng(1), (1.2, 2.2, 1.2, 1.2))
    for family in (CURVE, [OVER_SIZES], [PUBLISHED]):
        rows = of_family(found, family)
        assert len(rows) == 2 * 3 * len(family)
        assert [row.p_holm for row in rows] == pytest.approx(holm([row.difference.p for row in rows]), nan_ok=True)
    assert list(found["one"]) == [*CURVE, PUBLISHED, OVER_SIZES]


def test_where_no_head_differs_some_difference_is_found_in_at_most_5_percent_of_tables():
    rng = np.random.default_rng(11)
    tables = [compared(rng, [1.2] * 4) for _ in range(200)]
    for family in (CURVE, [OVER_SIZES]):
        least = [min(row.p_holm for row in of_family(table, family) if row.p_holm is not None) for table in tables]
        assert np.mean(np.array(least) <= 0.05) <= 0.05


def test_a_planted_difference_is_found_and_no_other():
    rng = np.random.default_rng(3)
    tables = [compared(rng, (0.75, 3.0, 0.75, 0.75)) for _ in range(20)]
    for name in ("one", "other"):
        for design in (K_FOLD, OVER_SIZES):
            assert np.mean([table[name][design]["quantum"].p_holm <= 0.05 for table in tables]) >= 0.9
            assert np.mean([table[name][design]["mlp"].p_holm <= 0.05 for table in tables]) <= 0.05


def test_the_mean_over_sizes_is_over_the_logarithm():
    # A straight line over the logarithm has its middle as its mean; by hand, a step counts by the logarithms' widths.
    line = [np.array([0.2]), np.array([0.4]), np.array([0.6])]
    assert mean_over_log(line, (10, 100, 1000)) == pytest.approx(0.4)
    assert mean_over_log([np.array([0.0]), np.array([1.0]), np.array([1.0])], (1, 10, 1000)) == pytest.approx(2.5 / 3)
    found = compared(np.random.default_rng(1), [1.2] * 4)["one"]
    values = [[found[design]["quantum"].value.mean] for design in CURVE]
    assert found[OVER_SIZES]["quantum"].value.mean == pytest.approx(mean_over_log(np.array(values), (8, 24, 64))[0])
    assert found[OVER_SIZES]["quantum"].best_on_test is None


def test_a_metric_that_is_better_when_it_is_less_keeps_its_sign_and_one_without_a_value_is_refused():
    losses = {"classical": 0.5, "quantum": 0.3}
    found = {
        head: [
            trial(seed, fold, None, 0.5, metrics={"log_loss": value + 0.01 * seed * len(head), "roc_auc": None})
            for seed in range(3)
            for fold in (0, 1, None)
        ]
        for head, value in losses.items()
    }
    rows = figures({"one": found}, tuple(losses), "classical", "log_loss")["one"][K_FOLD]
    assert rows["quantum"].difference.mean == pytest.approx(-0.22)
    assert rows["quantum"].value.low > 0
    with pytest.raises(InputError, match="--metric is roc_auc, which has no value on some test images of one"):
        figures({"one": found}, tuple(losses), "classical", "roc_auc")
