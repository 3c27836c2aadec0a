import numpy as np
import pytest

from pipeline.util.bootstrap import AT_ONCE, FEWEST, RESAMPLES, _Rows, n_resamples, resampled
from pipeline.util.metrics import METRICS


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_a_resample_has_the_metrics_of_its_rows(n_classes):
    rng = np.random.default_rng(n_classes)
    labels = np.sort(rng.permutation(np.arange(60) % n_classes))
    # Of few values, so that many rows are tied.
    probabilities = rng.integers(1, 5, size=(60, n_classes)).astype(float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = _Rows(probabilities, labels)
    counts = rows.drawn(rng, 20)
    found = rows.metrics(counts)
    assert found.keys() == METRICS.keys() - {"accuracy"}
    for k in range(20):
        copies = np.repeat(np.arange(60), counts[k].astype(int))
        for name, values in found.items():
            assert values[k] == pytest.approx(METRICS[name](probabilities[copies], labels[copies]), abs=1e-12), name


def test_a_resample_has_as_many_rows_of_each_class():
    labels = np.repeat([0, 1, 2], [5, 1, 14])
    counts = _Rows(np.full((20, 3), 1 / 3), labels).drawn(np.random.default_rng(0), 500)
    assert (np.add.reduceat(counts, [0, 5, 6], axis=1) == [5, 1, 14]).all()
    assert counts[:, :5].mean(axis=0) == pytest.approx(np.ones(5), abs=0.15)


def test_the_order_of_rows_does_not_matter():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=80)
    labels = np.arange(80) % 3
    order = np.argsort(labels, kind="stable")
    found, sorted_first = (resampled(probabilities[rows], labels[rows], 10, seed=0) for rows in (slice(None), order))
    assert all((found[name] == sorted_first[name]).all() for name in found)


def test_what_does_not_fit_is_drawn_in_parts(monkeypatch):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(2), size=50)
    labels = np.arange(50) % 2
    monkeypatch.setattr("pipeline.util.bootstrap.AT_ONCE", 350)
    assert {len(values) for values in resampled(probabilities, labels, 30, seed=0).values()} == {30}


def test_many_rows_are_resampled_less_often():
    assert n_resamples(153, 2) == RESAMPLES
    assert n_resamples(20_000, 2) == 500
    assert n_resamples(500_000, 2) == FEWEST
    assert n_resamples(500_001, 2) == n_resamples(100, 1001) == 0
    assert AT_ONCE >= 500_000
