"""Statistics of a comparison, against textbook values and against tables whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from pipeline.experiments.simulation import Shape, simulated
from pipeline.experiments.statistics import estimate, holm, on_logit_scale, smallest_visible

FOLDS = 5
OVERLAP = 1 / (FOLDS - 1)

# "Student" (W. S. Gosset), "The probable error of a mean", Biometrika 6, 1 (1908): additional hours of sleep.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]


def test_without_overlap_it_is_the_paired_t_test_of_the_textbooks():
    found = estimate(SLEEP, overlap=0.0)
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.effect_size == pytest.approx(1.284558, abs=1e-6)
    assert found.p == pytest.approx(ttest_1samp(SLEEP, 0).pvalue, rel=1e-12)


def test_with_overlap_it_is_nadeau_and_bengios():
    # By hand: variance 2.5, (1/5 + 1/4) · 2.5 = 1.125, t = 3 / √1.125 = 2√2 with 4 degrees of freedom.
    found = estimate([1, 2, 3, 4, 5], overlap=0.25)
    assert found.standard_error == pytest.approx(1.125**0.5)
    assert found.p == pytest.approx(0.047421, abs=1e-6)
    assert found.high - found.mean == pytest.approx(2.776445 * 1.125**0.5, abs=1e-6)


def test_repetitions_do_not_narrow_the_interval_below_what_the_overlap_leaves():
    rng = np.random.default_rng(0)
    wide, wider = (estimate(rng.normal(0, 1, count), OVERLAP).standard_error for count in (10_000, 50))
    assert wide == pytest.approx(OVERLAP**0.5, rel=0.03)
    assert wide < wider


def test_holm_by_hand():
    # 4 · 0.005, then max(…, 3 · 0.01), max(…, 2 · 0.03), max(…, 1 · 0.04).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02, None, 0.03]) == [0.04, None, 0.04]


def test_no_difference_at_all_is_none():
    found = estimate([0.0] * 10, OVERLAP)
    assert (found.mean, found.low, found.high, found.p, found.effect_size) == (0.0, 0.0, 0.0, 1.0, 0.0)
    assert smallest_visible(found, 6) is None


def test_values_all_alike_are_no_evidence():
    found = estimate([0.1 + 0.2 - 0.29, 0.01, 0.01], OVERLAP)
    assert found.mean == pytest.approx(0.01)
    assert (found.low, found.high, found.p, found.effect_size) == (None, None, None, None)
    assert smallest_visible(found, 6) is None


def test_one_value_has_no_interval():
    found = estimate([0.9], 0.0)
    assert (found.mean, found.low, found.p, found.count) == (0.9, None, None, 1)
    with pytest.raises(ValueError, match="no values"):
        estimate([], 0.0)


def test_an_interval_on_the_logit_scale_stays_between_what_values_can_be():
    found = estimate([0.97, 0.99, 1.0, 0.98, 0.93], 0.25)
    assert found.high > 1
    moved = on_logit_scale(found, 0, 1)
    assert 0 < moved.low < found.low < moved.mean < moved.high < 1
    assert moved.mean == found.mean
    # In the middle it is the ordinary one, and turned round it is the same turned round.
    middle = estimate([0.49, 0.5, 0.51, 0.5], 0.25)
    assert on_logit_scale(middle, 0, 1).high == pytest.approx(middle.high, abs=1e-3)
    turned = on_logit_scale(estimate([0.03, 0.01, 0.0, 0.02, 0.07], 0.25), 0, 1)
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((moved.low, moved.high))
    # On another scale, and without a largest value.
    signed = on_logit_scale(estimate([0.94, 0.98, 1.0, 0.96, 0.86], 0.25), -1, 1)
    assert (signed.low, signed.high) == pytest.approx((2 * moved.low - 1, 2 * moved.high - 1))
    loss = on_logit_scale(estimate([0.01, 0.5, 0.02], 0.25), 0, np.inf)
    assert 0 < loss.low < loss.mean < loss.high
    assert loss.low * loss.high == pytest.approx(loss.mean**2)
    assert on_logit_scale(estimate([1.0, 1.0], 0.25), 0, 1).low is None


def test_intervals_on_the_logit_scale_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    shifts = (1.7,)
    truth = np.mean([table_of(rng, shifts, repetitions=1).mean() for _ in range(2000)])
    found = [on_logit_scale(estimate(table_of(rng, shifts)[:, 0], OVERLAP), 0, 1) for _ in range(200)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.94
    assert max(one.high for one in found) < 1


@pytest.mark.parametrize("comparisons", [1, 6])
def test_the_smallest_visible_difference_is_found_four_times_in_five(comparisons):
    rng = np.random.default_rng(1)
    count, level = 40, 0.05 / comparisons
    noise = rng.normal(0, 1, (2000, count))
    needed = smallest_visible(estimate(noise[0] / noise[0].std(ddof=1), 0.0), comparisons)
    found = np.mean([estimate(row + needed, 0.0).p <= level for row in noise])
    assert found == pytest.approx(0.8, abs=0.03)


# -- tables whose truth is known --------------------------------


def table_of(rng, shifts, repetitions=10):
    """Accuracies of shape (J, heads) of one study of 80 points."""
    return simulated(rng, shifts, Shape(counts=(40, 40), folds=FOLDS, repetitions=repetitions))[None]


@pytest.fixture(scope="module")
def tables_without_difference():
    """300 comparisons of six heads with a reference, all seven equally good."""
    rng = np.random.default_rng(0)
    return [table_of(rng, [1.2] * 7) for _ in range(300)]


def share_found(tables, overlap, column=1):
    return np.mean([estimate(table[:, column] - table[:, 0], overlap).p <= 0.05 for table in tables])


def test_no_difference_is_found_in_at_most_5_percent_where_there_is_none(tables_without_difference):
    assert share_found(tables_without_difference, OVERLAP) <= 0.05


def test_the_uncorrected_t_test_would_find_one_in_every_other_table(tables_without_difference):
    assert share_found(tables_without_difference, 0.0) > 0.4


def test_of_six_heads_none_is_found_in_more_than_5_percent_with_holm_and_some_is_without(tables_without_difference):
    p_values = [
        [estimate(table[:, column] - table[:, 0], OVERLAP).p for column in range(1, 7)]
        for table in tables_without_difference
    ]
    assert np.mean([min(holm(row)) <= 0.05 for row in p_values]) <= 0.05
    assert np.mean([min(row) <= 0.05 for row in p_values]) > 0.05


def test_a_planted_difference_is_found_and_its_interval_holds_it():
    rng = np.random.default_rng(2)
    shifts = (0.75, 2.0)
    # The truth for such a trained head: mean accuracy over many fresh data sets.
    truth = np.diff(np.mean([table_of(rng, shifts, repetitions=1).mean(axis=0) for _ in range(2000)], axis=0))[0]
    found = [estimate(table[:, 1] - table[:, 0], OVERLAP) for table in (table_of(rng, shifts) for _ in range(200))]
    assert np.mean([one.p <= 0.05 and one.mean > 0 for one in found]) > 0.85
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.95


def test_no_visible_difference_is_larger_than_there_can_be():
    few = estimate([0.4, -0.3], overlap=0.0)
    assert smallest_visible(few, 6) > 2
    assert smallest_visible(few, 6, most=1.0) == 1.0
