"""pipeline.training.estimator: scikit-learn's own checks and tools, with a quantum head inside."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pennylane as qml
import pytest
import scipy.sparse
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import pipeline
from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from pipeline import QuantumHeadClassifier


@pytest.fixture(scope="module")
def wine():
    rows, labels = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(rows), np.array(["barolo", "grignolino", "barbera"])[labels]


def fast(**changed):
    return QuantumHeadClassifier(**{"n_qubits": 2, "depth": 2, "epochs": 20, "learning_rate": 0.02} | changed)


def two_wires(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(2), rotation="Y")
    qml.StronglyEntanglingLayers(weights, wires=range(2))
    return qml.probs(wires=range(2))


@pytest.mark.slow
def test_scikit_learns_own_checks_pass():
    # A step from all rows, so that a row of weight 2 is the row twice.
    results = check_estimator(QuantumHeadClassifier(batch_size=None, learning_rate=0.01), on_skip=None)
    assert len(results) > 50
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= {"check_array_api_input"}


@pytest.mark.slow
def test_in_batches_only_equal_weights_are_equal_rows():
    results = check_estimator(QuantumHeadClassifier(), on_skip=None, on_fail=None)
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    assert failed == {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")}


def test_it_learns_names_of_classes(wine):
    rows, labels = wine
    classifier = fast(random_state=1).fit(rows, labels)
    assert list(classifier.classes_) == ["barbera", "barolo", "grignolino"]
    assert classifier.score(rows, labels) > 0.95
    probabilities = classifier.predict_proba(rows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (classifier.classes_[probabilities.argmax(axis=1)] == classifier.predict(rows)).all()
    again = fast(random_state=1).fit(rows, labels)
    assert np.array_equal(again.predict_proba(rows), probabilities)


def test_sparse_rows_and_data_frames_give_the_same_head(wine):
    rows, labels = wine
    expected = fast(random_state=0).fit(rows, labels).predict_proba(rows)
    sparse = scipy.sparse.csr_matrix(rows)
    assert np.array_equal(fast(random_state=0).fit(sparse, labels).predict_proba(sparse), expected)
    frame = pd.DataFrame(rows, columns=load_wine().feature_names)
    fitted = fast(random_state=0).fit(frame, pd.Series(labels))
    assert np.array_equal(fitted.predict_proba(frame), expected)
    assert list(fitted.feature_names_in_) == load_wine().feature_names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_head_computes_in_the_dtype_of_the_features(wine, dtype):
    rows, labels = wine
    classifier = fast(epochs=1).fit(rows.astype(dtype), labels)
    assert classifier.predict_proba(rows.astype(dtype)).dtype == dtype
    assert classifier.head_.q_params.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype


@pytest.mark.parametrize(
    ("circuit", "more"),
    [
        ("reuploading", {}),
        ("amplitude", {"pre_net": "none", "n_qubits": 4}),
        (two_wires, {"weight_shapes": {"weights": (2, 2, 3)}}),
        (qml.QNode(two_wires, qml.device("lightning.qubit", wires=2)), {"weight_shapes": {"weights": (2, 2, 3)}}),
    ],
    ids=["name", "amplitudes", "function", "qnode"],
)
def test_any_circuit(wine, circuit, more):
    rows, labels = wine
    classifier = make_pipeline(StandardScaler(), fast(circuit=circuit, random_state=0, **more))
    assert cross_val_score(classifier, rows, labels, cv=3).mean() > 0.6  # the largest class is 0.4


def test_partial_fit_goes_on_where_it_stopped(wine):
    rows, labels = wine
    whole = fast(epochs=3, random_state=5).fit(rows, labels)
    part = fast(random_state=5).partial_fit(rows, labels, classes=np.unique(labels)).partial_fit(rows, labels)
    part = pickle.loads(pickle.dumps(part)).partial_fit(rows, labels)
    assert (part.epochs_, whole.epochs_) == (3, 3)
    assert np.array_equal(part.predict_proba(rows), whole.predict_proba(rows))


def test_weights_count(wine):
    rows, labels = wine
    weights = np.arange(len(labels)) % 3
    weighted = fast(random_state=0, batch_size=None).fit(rows, labels, weights)
    repeated = fast(random_state=0, batch_size=None).fit(np.repeat(rows, weights, 0), np.repeat(labels, weights))
    np.testing.assert_allclose(weighted.predict_proba(rows), repeated.predict_proba(rows), rtol=1e-6)
    few = np.flatnonzero((labels != "barolo") | (np.arange(len(labels)) % 12 == 0))
    recall = {}
    for weight in (None, "balanced", {"barolo": 50.0}):
        classifier = fast(class_weight=weight, epochs=4, random_state=0).fit(rows[few], labels[few])
        recall[str(weight)] = (classifier.predict(rows)[labels == "barolo"] == "barolo").mean()
    assert recall["None"] < recall["balanced"] <= recall["{'barolo': 50.0}"]


def test_a_search_and_a_calibration_around_it(wine):
    rows, labels = wine
    search = GridSearchCV(fast(random_state=0, epochs=5), {"n_qubits": [2, 3], "depth": [1, 2]}, cv=2, n_jobs=1)
    search.fit(rows, labels)
    assert set(search.best_params_) == {"n_qubits", "depth"}
    calibrated = CalibratedClassifierCV(fast(random_state=0), cv=2).fit(rows, labels)
    assert calibrated.score(rows, labels) > 0.9


@pytest.mark.slow
def test_a_search_in_two_processes_on_the_packaged_features():
    features = read_features(PACKAGED)
    search = GridSearchCV(
        QuantumHeadClassifier(random_state=0),
        {"learning_rate": [0.001, 0.003, 0.01], "depth": [1, 6], "batch_size": [16, 32]},
        cv=5,
        n_jobs=2,
    )
    search.fit(features.train.features, features.train.labels)
    assert search.score(features.val.features, features.val.labels) > 0.9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
        ({"batch_size": 0}, "batch_size is 0; it must be 1 or more"),
        ({"circuit": "reupload"}, "reuploading"),
        ({"simulator": "gpu"}, "simulator is 'gpu'; choose one of lightning, qnode, dense"),
    ],
)
def test_mistakes_are_said(wine, changed, message):
    with pytest.raises(ValueError, match=message):
        fast(**changed).fit(*wine)


def test_mistakes_of_partial_fit_are_said(wine):
    rows, labels = wine
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        fast().partial_fit(rows, labels)
    with pytest.raises(ValueError, match=r"y holds \['barbera'\], which are none of the classes"):
        fast().partial_fit(rows, labels, classes=["barolo", "grignolino"])
    classifier = fast(epochs=1).fit(rows, labels)
    with pytest.raises(ValueError, match="they can't change"):
        classifier.partial_fit(rows, labels, classes=["barolo"])
    with pytest.raises(ValueError, match="every row has weight 0"):
        fast(class_weight=dict.fromkeys(np.unique(labels), 0.0)).fit(rows, labels)


def test_public_names_are_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(getattr(pipeline, name) for name in pipeline.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pipeline.nothing
