import json
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from pipeline.report.calibration import calibration
from pipeline.util.metrics import METRICS, Metric, estimates, wilson95


def drawn(counts, shift=1.0, seed=0, sharpness=1.0):
    """Probabilities and labels of so many rows a class, the right one raised by ``shift`` of noise 1."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    raised = shift * (labels[:, None] == np.arange(len(counts)))
    logits = sharpness * shift * (rng.normal(size=(len(labels), len(counts))) + raised)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), labels


BY_SCIKIT_LEARN = {
    "accuracy": lambda p, y: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda p, y: sk.balanced_accuracy_score(y, p.argmax(1)),
    "f1_macro": lambda p, y: sk.f1_score(y, p.argmax(1), average="macro"),
    "matthews_corrcoef": lambda p, y: sk.matthews_corrcoef(y, p.argmax(1)),
    "roc_auc": lambda p, y: (
        sk.roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else sk.roc_auc_score(y, p, multi_class="ovr")
    ),
    "average_precision": lambda p, y: np.mean([sk.average_precision_score(y == k, p[:, k]) for k in range(p.shape[1])]),
    "log_loss": lambda p, y: sk.log_loss(y, p),
    "brier": lambda p, y: sk.brier_score_loss(y, p if p.shape[1] > 2 else p[:, 1]),
    "ece": lambda p, y: calibration(p, y).ece,
}


@pytest.mark.parametrize("counts", [(70, 83), (9, 140), (50, 20, 5), tuple(range(4, 14))])
def test_every_metric_is_scikit_learns(counts):
    probabilities, labels = drawn(counts)
    assert METRICS.keys() == BY_SCIKIT_LEARN.keys()
    for name, metric in METRICS.items():
        assert metric(probabilities, labels) == pytest.approx(BY_SCIKIT_LEARN[name](probabilities, labels)), name


def test_what_is_better_and_its_range():
    worst = {name: metric.range[0] for name, metric in METRICS.items() if not metric.higher_is_better}
    assert worst == {"log_loss": math.inf, "brier": 2.0, "ece": 1.0}
    assert METRICS["matthews_corrcoef"].range == (-1.0, 1.0)


def test_probabilities_of_a_softmax_in_float32_are_taken():
    probabilities, labels = drawn((40, 50, 60))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rounded = METRICS["log_loss"](probabilities.astype(np.float32), labels)
    assert rounded == pytest.approx(METRICS["log_loss"](probabilities, labels), rel=1e-6)


def test_a_class_without_rows_gives_the_reason_and_no_number():
    probabilities, labels = drawn((20, 0, 30))
    found = estimates(probabilities, labels, ["ants", "bees", "wasps"])
    without = {name: each.reason for name, each in found.items() if each.value is None}
    assert without == dict.fromkeys(
        ["balanced_accuracy", "f1_macro", "roc_auc", "average_precision"], "no sample is of class bees"
    )
    assert all(found[name].interval95 for name in found.keys() - without.keys())
    with pytest.raises(ValueError, match=r"^ROC AUC is not defined: no sample is of class 1$"):
        METRICS["roc_auc"](probabilities, labels)


def test_one_class_alone_and_no_rows_at_all():
    probabilities, labels = drawn((20, 0))
    found = estimates(probabilities, labels)
    assert found["matthews_corrcoef"].reason == "all samples are of one class"
    nothing = estimates(probabilities[:0], labels[:0])
    assert {each.reason for each in nothing.values()} == {"there are no samples"}


@pytest.mark.parametrize("counts", [(70, 83), (1, 1), (3, 60), (5, 2, 9)])
@pytest.mark.parametrize("shift", [0.0, 2.0, 50.0])
def test_intervals_hold_the_value_and_stay_in_its_range(counts, shift):
    for name, found in estimates(*drawn(counts, shift)).items():
        low, high = found.interval95
        assert low <= found.value <= high, name
        assert min(METRICS[name].range) <= low <= high <= max(METRICS[name].range), name
        json.dumps([found.value, low, high], allow_nan=False)


def test_perfect_rows_leave_room_for_what_they_cannot_exclude():
    labels = np.repeat([0, 1], [70, 83])
    found = estimates(np.eye(2)[labels], labels)
    assert found["accuracy"].interval95 == wilson95(153, 153)
    # Wilson's lower ends of both classes, 70/73.84 and 83/86.84, put together.
    lower = 1 - math.hypot(3.8415 / 73.8415, 3.8415 / 86.8415) / 2
    for name in ("balanced_accuracy", "f1_macro", "roc_auc", "average_precision"):
        assert found[name].interval95 == pytest.approx([lower, 1.0], abs=1e-6)
    assert found["matthews_corrcoef"].interval95 == pytest.approx([2 * lower - 1, 1.0], abs=1e-6)


def test_a_class_that_is_never_found_leaves_room_for_what_its_rows_cannot_exclude():
    """One class is predicted for all: no resample differs, and of 5 rows that are wrong 43 % may still be right."""
    labels = np.repeat([0, 1], [75, 5])
    found = estimates(np.full((80, 2), [0.9, 0.1]), labels)
    assert (found["balanced_accuracy"].value, found["matthews_corrcoef"].value) == (0.5, 0.0)
    down, up = wilson95(75, 75)[0] / 2, 0.5 + wilson95(0, 5)[1] / 2
    assert found["balanced_accuracy"].interval95 == pytest.approx([down, up], abs=1e-6)
    assert found["matthews_corrcoef"].interval95 == pytest.approx([2 * down - 1, 2 * up - 1], abs=1e-6)
    assert found["f1_macro"].interval95[1] - found["f1_macro"].value == pytest.approx(up - 0.5, abs=1e-6)


def test_intervals_of_a_rare_class_hold_the_truth():
    """Of 75 samples 97 % are right, of 5 others 30 %: one of six draws finds none of these."""
    rng, held = np.random.default_rng(0), 0
    labels = np.repeat([0, 1], [75, 5])
    for _ in range(40):
        right = rng.random(80) < np.repeat([0.97, 0.3], [75, 5])
        low, high = estimates(np.eye(2)[np.where(right, labels, 1 - labels)], labels)["balanced_accuracy"].interval95
        held += low <= (0.97 + 0.3) / 2 <= high
    assert held >= 37


def test_the_same_rows_give_the_same_intervals():
    rows = drawn((30, 40))
    assert estimates(*rows) == estimates(*rows)
    assert estimates(*rows, seed=1)["roc_auc"].interval95 != estimates(*rows)["roc_auc"].interval95


def test_too_many_rows_are_judged_without_resampling(monkeypatch):
    monkeypatch.setattr("pipeline.util.bootstrap.WORK", 1)
    found = estimates(*drawn((30, 40)))
    assert found["roc_auc"].interval95 is None
    assert found["roc_auc"].reason == "70 samples × 2 classes are too many to resample"
    assert found["accuracy"].interval95


def covered(counts, shift, sharpness, n):
    """How often intervals of ``n`` samples hold the value of the population."""
    truth = {name: metric(*drawn([1000 * k for k in counts], shift, 99, sharpness)) for name, metric in METRICS.items()}
    held = dict.fromkeys(METRICS, 0)
    for seed in range(n):
        for name, found in estimates(*drawn(counts, shift, seed, sharpness)).items():
            held[name] += found.interval95[0] <= truth[name] <= found.interval95[1]
    return {name: count / n for name, count in held.items()}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # Of 40 samples, 95 % less 3 standard errors is 0.85.
    assert min(covered((70, 83), 1.5, 1.0, 40).values()) >= 0.84


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "shift", "sharpness", "least"), [((70, 83), 1.5, 2.0, 0.9), ((60, 25, 15), 1.5, 1.0, 0.88)]
)
def test_intervals_hold_the_truth_of_sharper_and_of_unequal_classes(counts, shift, sharpness, least):
    assert min(covered(counts, shift, sharpness, 250).values()) >= least


def test_a_metric_is_called_with_its_function():
    metric = Metric(label="rows", meaning="their number", function=lambda _, labels: len(labels))
    assert metric(*drawn((3, 4))) == 7.0
