"""pipeline.heads.controls.kernels and machine: scikit-learn's SVC, and fidelities of PennyLane's states."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pennylane as qml
import pytest
import torch
from scipy.special import log_softmax
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.svm import SVC

from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.heads.base import QUARTER_TURN
from pipeline.heads.controls import kernels
from pipeline.heads.controls.baselines import inner_folds
from pipeline.heads.controls.kernels import GAMMAS, RbfSvmNet, fidelities, squared_distances
from pipeline.heads.controls.machine import STRENGTHS, best_factor
from pipeline.heads.registry import new_head
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run


def drawn(n_classes, n=90, seed=0):
    """Classes on rings, which no line divides; the last columns are noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    angles = rng.uniform(0, 2 * np.pi, n)
    rows = np.stack([np.cos(angles), np.sin(angles)], 1) * (1 + 2 * labels[:, None]) + rng.normal(0, 0.6, (n, 2))
    noise = rng.normal(0, 0.5, (n, 4))
    return np.concatenate([rows, noise], axis=1).astype(np.float32), labels


def fitted(head, features, labels, seed=1):
    head.prepare(torch.from_numpy(features), torch.from_numpy(labels), seed)
    return head


def logits_of(head, features):
    with torch.no_grad():
        return head(torch.from_numpy(features)).double().numpy()


def fidelity_head(circuit="mari", n_classes=2, n_features=6, qubits=3):
    config = TrainConfig(head="fidelity-svm", circuit=circuit, qubits=qubits, depth=2, q_delta=1.0)
    return new_head(config, n_features, n_classes)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_gaussian_head_is_scikit_learns_svc(n_classes):
    features, labels = drawn(n_classes)
    head = fitted(RbfSvmNet(6, n_classes), features, labels)
    C, gamma = head.machine.C.item(), head.gamma.item()
    model = SVC(C=C, gamma=gamma, break_ties=n_classes > 2).fit(features.astype(float), labels)
    others = drawn(n_classes, 60, seed=5)[0]
    decided = model.decision_function(others.astype(float))
    expected = np.stack([-decided, decided], 1) / 2 if n_classes == 2 else decided
    logits = logits_of(head, others)
    np.testing.assert_allclose(logits, expected * head.machine.factor.item(), atol=2e-3)
    assert (logits.argmax(axis=1) == model.predict(others.astype(float))).all()
    assert len(head.machine.vectors) == len(model.support_)
    assert head.n_trainable == (n_classes - 1) * len(model.support_) + len(head.machine.pairs)


def test_its_settings_are_the_best_of_the_grid_on_the_inner_folds():
    features, labels = drawn(2, 120)
    head = fitted(RbfSvmNet(6, 2), features, labels, seed=3)
    folds = inner_folds("rbf-svm", labels, 2, 3)
    scale = 1 / (6 * features.astype(float).var())
    found = {}
    for gamma in GAMMAS:
        for C in STRENGTHS:
            model = SVC(C=C, gamma=gamma * scale)
            held_out = cross_val_predict(model, features.astype(float), labels, cv=folds)
            found[C, gamma] = (held_out == labels).mean()
    chosen = min(GAMMAS, key=lambda gamma: abs(gamma * scale - head.gamma.item()))
    assert head.gamma.item() == pytest.approx(chosen * scale)
    assert found[head.machine.C.item(), chosen] == max(found.values()) > 0.8
    model = SVC(C=head.machine.C.item(), gamma=head.gamma.item())
    decided = cross_val_predict(model, features.astype(float), labels, cv=folds, method="decision_function")
    values = np.stack([-decided, decided], 1) / 2

    def loss(factor):
        return -log_softmax(factor * values, axis=1)[np.arange(120), labels].mean()

    best = head.machine.factor.item()
    assert best == pytest.approx(best_factor(values, labels))
    assert all(loss(best) <= loss(factor) + 1e-9 for factor in np.geomspace(1e-3, 1e3, 200))


@pytest.mark.parametrize("circuit", ["mari", "strongly-entangling", "basic-entangler", "separable"])
def test_of_one_rotation_a_wire_the_kernel_is_a_product_of_cosines(circuit):
    head = fidelity_head(circuit)
    angles = torch.from_numpy(np.random.default_rng(0).uniform(-1.5, 1.5, (7, 3)))
    states = head.states(angles)
    expected = (torch.cos((angles[:, None] - angles[None]) / 2) ** 2).prod(dim=-1)
    torch.testing.assert_close(fidelities(states, states), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("circuit", ["mari", "iqp", "amplitude", "reuploading"])
def test_the_kernel_is_the_fidelity_of_pennylanes_states(circuit):
    head = fidelity_head(circuit)
    n_inputs = head.pre_net.out_features
    angles = np.random.default_rng(1).uniform(-1.5, 1.5, (5, n_inputs))

    @qml.qnode(qml.device("default.qubit", wires=3))
    def state(x):
        for operation in qml.tape.make_qscript(head.circuit)(x, head.q_params.detach().double()).operations:
            qml.apply(operation)
        return qml.state()

    wanted = np.stack([state(torch.from_numpy(x)).numpy() for x in angles])
    states = head.states(torch.from_numpy(angles))
    np.testing.assert_allclose(
        fidelities(states, states).numpy(), np.abs(wanted.conj() @ wanted.T) ** 2, rtol=0, atol=1e-12
    )


def test_of_an_embedding_without_weights_the_circuit_behind_it_cancels():
    head, other = fidelity_head("iqp"), fidelity_head("iqp")
    with torch.no_grad():
        other.q_params.normal_()
    angles = torch.rand(4, 3)
    kernels_of = [fidelities(each.states(angles), each.states(angles)) for each in (head, other)]
    torch.testing.assert_close(*kernels_of, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_fidelity_head_is_scikit_learns_svc_on_that_kernel(n_classes):
    features, labels = drawn(n_classes)
    head = fitted(fidelity_head(n_classes=n_classes), features, labels)
    pca = fitted(new_head(TrainConfig(head="pca", qubits=3, depth=2), 6, n_classes), features, labels)
    assert torch.equal(head.pre_net.weight, pca.pre_net.weight)
    others = drawn(n_classes, 40, seed=7)[0]

    def angles(rows):
        with torch.no_grad():
            return (torch.tanh(pca.pre_net(torch.from_numpy(rows))) * QUARTER_TURN).double().numpy()

    def kernel(rows):
        differences = angles(rows)[:, None] - angles(features)[None]
        return (np.cos(differences / 2) ** 2).prod(axis=-1)

    model = SVC(C=head.machine.C.item(), kernel="precomputed", break_ties=n_classes > 2).fit(kernel(features), labels)
    decided = model.decision_function(kernel(others))
    expected = np.stack([-decided, decided], 1) / 2 if n_classes == 2 else decided
    np.testing.assert_allclose(logits_of(head, others), expected * head.machine.factor.item(), atol=2e-3)
    folds = inner_folds("fidelity-svm", labels, n_classes, 1)
    scores = {
        C: cross_val_score(SVC(C=C, kernel="precomputed"), kernel(features), labels, cv=folds).mean() for C in STRENGTHS
    }
    assert scores[head.machine.C.item()] == max(scores.values()) > 0.5
    exported = head.for_export().eval()
    np.testing.assert_allclose(exported(torch.from_numpy(others)).detach(), logits_of(head, others), atol=1e-5)


@pytest.mark.parametrize("name", ["rbf-svm", "fidelity-svm"])
def test_support_vectors_are_part_of_the_state(name, feature_file, tmp_path):
    config = TrainConfig(features=feature_file, out=tmp_path / "run", head=name)
    run = train(config)
    head, rows = load_run(tmp_path / "run").head(), torch.randn(4, 512)
    assert run.parameters == head.n_trainable == 1 + len(head.machine.vectors) > 2
    assert torch.equal(head(rows), run.head()(rows))
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert torch.equal(other(rows), head(rows))
    assert torch.equal(train(replace(config, out=tmp_path / "again")).head()(rows), head(rows))
    wrong = head.state_dict() | {"machine.intercepts": torch.zeros(3)}
    with pytest.raises(RuntimeError, match=r"size mismatch for machine\.intercepts"):
        head.load_state_dict(wrong)


def test_what_is_refused(monkeypatch, tmp_path):
    features, labels = drawn(2, 5)
    message = "the rbf-svm head needs 2 classes or more with 2 training rows each.*; here the classes have 5, 0"
    with pytest.raises(InputError, match=message):
        fitted(RbfSvmNet(6, 2), features, 0 * labels)
    monkeypatch.setattr(kernels, "free_memory", lambda: 500.0)
    with pytest.raises(InputError, match=r"--head rbf-svm needs kernels of all pairs of 5 training rows: .* fewer"):
        fitted(RbfSvmNet(6, 2), features, labels)
    file = tmp_path / "mine.py"
    file.write_text(
        "import pennylane as qml\nweight_shapes = {'weights': 2}\n"
        "def mine(inputs, weights):\n    qml.AngleEmbedding(inputs, range(2))\n    qml.RX(weights[0], 0)\n"
        "    qml.measure(0)\n    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]\n"
    )
    message = "the head fidelity-svm needs the states of the circuit .*mine, which "
    with pytest.raises(FlagError, match=message + "measures in mid-circuit"):
        new_head(TrainConfig(head="fidelity-svm", circuit=f"{file}:mine", qubits=2), 6, 2)
    file.write_text(file.read_text().replace("qml.measure(0)", "float(weights[0])"))
    why = "runs as an ordinary QNode.* because it reads the value"
    with pytest.warns(RuntimeWarning, match=why), pytest.raises(FlagError, match=message + why):
        new_head(TrainConfig(head="fidelity-svm", circuit=f"{file}:mine", qubits=2), 6, 2)


def test_squared_distances():
    rows, others = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(rows, others), torch.cdist(rows, others) ** 2)
