"""The baselines: what they compute, how many parameters they have, many together, and the stages that take them."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from features.config import ExtractConfig
from features.extract import make_features
from features.util.errors import InputError
from pipeline.heads.base import Head
from pipeline.heads.controls.baselines import STRENGTHS, ClassicalNet, LinearNet, LogisticNet, MlpNet
from pipeline.heads.registry import HEADS, new_head
from pipeline.heads.stacked import StackedHeads
from pipeline.heads.stacked_dressed import stack
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.hybrid import HybridClassifier
from pipeline.report import write_report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.names import HEAD, HISTORY, RECORD
from pipeline.training.run import load_run

WITH_CIRCUIT = ("quantum", "separable", "frozen", "ends-frozen", "sequential", "pca")
TRAINED = tuple(name for name, entry in HEADS.items() if not entry.fitted)


class PlainLayers(Head):
    """A head as a newcomer writes it, of torch's own layers."""

    description = "6 → 4 → relu → 3"

    def __init__(self):
        super().__init__()
        self.n_features = 6
        self.layers = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        self.register_buffer("scale", torch.rand(()) + 0.5)

    def steps(self, features):
        return (self.scale * self.layers(features),)


MAKERS = {
    "linear": lambda: LinearNet(6, 3),
    "classical": lambda: ClassicalNet(6, 3, 4),
    "mlp": lambda: MlpNet(6, 3, 4, 5),
    "plain layers": PlainLayers,
}


def make(name, seed=0):
    torch.manual_seed(seed)
    return MAKERS[name]()


def rows(n_samples=5, n_features=6, seed=1):
    return torch.randn(n_samples, n_features, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", range(8))
@pytest.mark.parametrize("qubits", [1, 4, 5])
def test_the_mlp_has_exactly_as_many_parameters_as_the_quantum_head(qubits, depth):
    counts = {
        name: new_head(TrainConfig(head=name, qubits=qubits, depth=depth), 512, 2).n_trainable
        for name in ("quantum", "separable", "mlp", "frozen", "classical")
    }
    assert counts["quantum"] == counts["separable"] == counts["mlp"]
    assert counts["frozen"] == counts["classical"] == counts["quantum"] - qubits * depth


def test_the_parameters_of_the_defaults():
    counts = {name: new_head(TrainConfig(head=name), 512, 2).n_trainable for name in HEADS}
    assert counts == {
        "quantum": 2086,
        "separable": 2086,
        "frozen": 2062,
        "classical": 2062,
        "mlp": 2086,
        "linear": 1026,
        "logistic": 1026,
        "surrogate": 2216,
        "fourier": 2102,
        "ends-frozen": 24,
        "sequential": 2086,
        "rbf-svm": 0,
        "fidelity-svm": 0,
        "pca": 34,
    }


def test_heads_of_one_seed_start_from_the_same_first_layer():
    first = {
        name: new_head(TrainConfig(head=name, seed=3), 512, 2).get_parameter("pre_net.weight")
        for name in HEADS
        if name not in ("linear", "logistic", "rbf-svm")
    }
    assert all(torch.equal(weight, first["quantum"]) for weight in first.values())


def test_the_separable_head_is_a_product_of_single_qubits():
    head = new_head(TrainConfig(head="separable", qubits=3, depth=4, seed=5, q_delta=1.0), 6, 2).double()
    angles = torch.rand(7, 3, dtype=torch.float64)
    # On one wire H, then RY of all angles summed: ⟨Z⟩ = -sin of the sum.
    expected = -torch.sin(angles + head.q_params.view(4, 3).sum(dim=0))
    torch.testing.assert_close(head.expectation_values(angles), expected)


def test_the_classical_heads_compute_what_plain_torch_does():
    features = rows()
    linear, classical, mlp = make("linear"), make("classical"), make("mlp")
    functional = nn.functional
    torch.testing.assert_close(linear(features), functional.linear(features, linear.linear.weight, linear.linear.bias))
    for head in (classical, mlp):
        hidden = torch.tanh(functional.linear(features, head.pre_net.weight, head.pre_net.bias))
        if head is mlp:
            added = functional.linear(torch.tanh(functional.linear(hidden, head.inner.weight)), head.outer.weight)
            hidden = hidden + added + head.outer_bias
        torch.testing.assert_close(head(features), functional.linear(hidden, head.post_net.weight, head.post_net.bias))


@pytest.mark.parametrize("name", MAKERS)
def test_many_train_as_each_alone(name):
    singles = [make(name, seed) for seed in range(3)]
    together = StackedHeads(singles)
    shared, labels = rows(20), torch.arange(20) % 3
    order = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(k))[:4] for k in range(3)])
    losses, logits = together.backward_cross_entropy(shared, labels[order], order)
    for k, single in enumerate(singles):
        loss, own = single.backward_cross_entropy(shared[order[k]], labels[order[k]])
        torch.testing.assert_close(losses[k], loss)
        torch.testing.assert_close(logits[k], own)
        for parameter, stacked in zip(single.parameters(), together.parameters(), strict=True):
            torch.testing.assert_close(stacked.grad[k], parameter.grad)
        assert {key: value.tolist() for key, value in together.head_state(k).items()} == {
            key: value.tolist() for key, value in single.state_dict().items()
        }
    assert together(shared).shape == (len(together), 20, 3) == (3, 20, 3)
    torch.testing.assert_close(together(shared)[1], singles[1](shared))


@pytest.mark.parametrize("name", MAKERS)
def test_copies_and_derivatives(name):
    head = make(name)
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert torch.equal(other(rows()), head(rows()))
    double = head.double()
    assert torch.autograd.gradcheck(double, (rows().double().requires_grad_(),))


@pytest.mark.parametrize("name", MAKERS)
def test_bad_features_and_diverged_weights(name):
    for head in (make(name), StackedHeads([make(name), make(name, 1)])):
        with pytest.raises(ValueError, match=r"features have shape .*; this head takes \(B, 6\): give it features"):
            head(torch.zeros(3, 5))
        with pytest.raises(ValueError, match=r"features are torch.float64 and the head is torch.float32"):
            head(rows().double())
        for value in (math.nan, math.inf):
            features = rows()
            features[3, 2] = value
            with pytest.raises(ValueError, match=f"row 3 of the features holds {value} in column 2"):
                head(features)
        with torch.no_grad():
            next(head.parameters()).view(-1)[0] = math.nan
        with pytest.raises(ValueError, match="training has diverged; lower the learning rate"):
            head(rows())


def test_heads_that_differ_are_not_stacked():
    with pytest.raises(ValueError, match=r"2 heads of 2 kinds .*ClassicalNet: 6 → 4 → tanh → 3; LinearNet: 6 → 3"):
        stack([make("linear"), make("classical")])
    with pytest.raises(ValueError, match="0 heads of 0 kinds; heads that are stacked must be at least one"):
        stack([])
    quantum, frozen = (new_head(TrainConfig(head=name), 512, 2) for name in ("quantum", "frozen"))
    with pytest.raises(ValueError, match=r"2 heads of 2 kinds .*frozen"):
        stack([quantum, frozen])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_logistic_head_is_scikit_learns_at_the_strength_that_inner_folds_choose(n_classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, 90)
    features = (rng.normal(0, 2, (90, 6)) + labels[:, None]).astype(np.float32)
    head = LogisticNet(6, n_classes)
    head.prepare(torch.from_numpy(features), torch.from_numpy(labels), seed=1)
    assert head.C.item() in [np.float32(strength) for strength in STRENGTHS]
    model = LogisticRegression(C=head.C.item(), max_iter=2000, tol=1e-8).fit(features.astype(float), labels)
    with torch.no_grad():
        probabilities = head(torch.from_numpy(features)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, model.predict_proba(features.astype(float)), atol=2e-3)


def test_the_strength_follows_the_noise():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.arange(200) % 2)
    noise = torch.from_numpy(rng.normal(0, 1, (200, 30)).astype(np.float32))
    signal = noise + 1.5 * (2 * labels[:, None] - 1)
    chosen = []
    for features in (noise, signal):
        head = LogisticNet(30, 2)
        head.prepare(features, labels, seed=0)
        chosen.append(head.C.item())
    assert chosen[0] == pytest.approx(STRENGTHS[0])
    assert chosen[1] > chosen[0]


def test_the_logistic_head_refuses_what_it_can_not_cross_validate():
    with pytest.raises(InputError, match=r"2 classes or more with 2 training rows each.*; here the classes have 4, 1"):
        LogisticNet(6, 2).prepare(rows(), torch.tensor([0, 0, 0, 0, 1]), seed=0)


@pytest.fixture
def config(feature_file, tmp_path):
    return TrainConfig(features=feature_file, out=tmp_path / "run", epochs=4, batch=8, lr=0.01, lr_step=2)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_leaves_the_same_records(config, name):
    run = train(replace(config, head=name, epochs=12, lr_step=12))
    assert {HEAD, RECORD, HISTORY} < {file.name for file in config.out.iterdir()}
    assert run.history[-1].val_accuracy == 1.0 or name == "ends-frozen"
    assert len(run.history) == (12 * HEADS[name].phases or 1)
    loaded = load_run(config.out)
    assert loaded.config.head == json.loads((config.out / RECORD).read_text())["config"]["head"] == name
    assert loaded.parameters == loaded.head().n_trainable
    assert torch.equal(loaded.head()(rows(3, 512)), run.head()(rows(3, 512)))


def test_frozen_weights_stay_as_they_start(config):
    run = train(replace(config, head="frozen"))
    start = new_head(run.config, 512, 2).state_dict()
    assert torch.equal(run.weights["last"]["q_params"], start["q_params"])
    assert not torch.equal(run.weights["last"]["pre_net.weight"], start["pre_net.weight"])


@pytest.mark.parametrize("name", [name for name, entry in HEADS.items() if entry.phases <= 1])
def test_every_head_resumes(config, name, tmp_path):
    straight = train(replace(config, head=name, out=tmp_path / "straight"))
    train(replace(config, head=name, epochs=2))
    resumed = train(replace(config, head=name, resume=True))
    assert all(torch.equal(tensor, straight.weights["last"][key]) for key, tensor in resumed.weights["last"].items())


def test_a_checkpoint_of_another_head_is_refused(config):
    train(replace(config, head="classical"))
    with pytest.raises(InputError, match="--head classical there, mlp asked for"):
        train(replace(config, head="mlp", resume=True))


@pytest.mark.parametrize("name", TRAINED)
def test_many_of_every_trained_head_end_as_each_alone(config, name, tmp_path):
    for run in train_many(replace(config, head=name, seeds=2)):
        alone = train(replace(config, head=name, seed=run.config.seed, out=tmp_path / f"alone-{run.config.seed}"))
        assert run.parameters == alone.parameters
        for key, tensor in alone.weights["last"].items():
            torch.testing.assert_close(run.weights["last"][key], tensor, rtol=0, atol=2e-5)


def test_several_logistic_heads_are_refused():
    with pytest.raises(ValueError, match="--head logistic is fitted, not trained: only one at a time"):
        TrainConfig(head="logistic", seeds=2)
    with pytest.raises(ValueError, match=r"--head is 'logistics'; choose one of .* \(did you mean logistic\?\)"):
        TrainConfig(head="logistics")


@pytest.fixture(scope="module")
def made(picture_folder_once, random_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    make_features(ExtractConfig(data=str(picture_folder_once), weights=str(random_weights), out=folder / "features.h5"))
    return folder


QUICK = ("quantum", "logistic", "rbf-svm", "fidelity-svm")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in HEADS])
def test_stage_3_takes_every_head(made, random_weights, picture_folder_once, name):
    run = train(TrainConfig(features=made / "features.h5", out=made / name, epochs=1, head=name))
    report = evaluate(EvalConfig(run=made / name, batch=4))
    assert report.record.head == name
    assert report.record.parity.holds
    write_report(report)
    assert (made / name / "circuit.png").exists() == (name in WITH_CIRCUIT)
    classifier = HybridClassifier.load(made / name)
    assert type(classifier.head) is type(run.head())
    pictures = sorted((picture_folder_once / "val").rglob("*.png"))
    assert all(p.problem is None for p in classifier.predict(pictures))
