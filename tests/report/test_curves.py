import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from pipeline.report.curves import MOST, POINTS, curves


def drawn(counts, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    odds = np.exp(rng.normal(size=(len(labels), len(counts))) + shift * (labels[:, None] == np.arange(len(counts))))
    return odds / odds.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("counts", [(70, 83), (10, 30, 5)])
def test_the_areas_are_those_of_the_points(counts):
    probabilities, labels = drawn(counts)
    found = curves(probabilities, labels, ["a", "b", "c"][: len(counts)])
    assert [each.name for each in found] == ["a", "b", "c"][: len(counts)]
    for k, each in enumerate(found):
        assert each.roc_auc == pytest.approx(auc(*each.roc))
        assert each.roc_auc == pytest.approx(roc_auc_score(labels == k, probabilities[:, k]))
        recall, precision = map(np.array, each.precision_recall)
        assert each.average_precision == pytest.approx((np.diff(recall) * precision[1:]).sum(), abs=1e-9)
        assert each.average_precision == pytest.approx(average_precision_score(labels == k, probabilities[:, k]))


def test_long_curves_keep_their_ends():
    (first, _) = curves(*drawn((30_000, 30_000), shift=0.2), ["a", "b"])
    false, found = first.roc
    assert len(false) == len(found) == POINTS
    assert (false[0], found[0], false[-1], found[-1]) == (0, 0, 1, 1)


def test_why_there_are_none():
    assert curves(*drawn((2,) * (MOST + 1)), ["x"] * (MOST + 1)).startswith("the curves of 11 classes can't be told")
    assert curves(*drawn((0, 4)), ["a", "b"]) == "all images are of class b: there is nothing to tell them from"


def test_a_class_without_images_has_no_curve():
    assert [each.name for each in curves(*drawn((5, 0, 5)), ["a", "b", "c"])] == ["a", "c"]
