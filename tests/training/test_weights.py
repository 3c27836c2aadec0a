"""pipeline.training.objective.weights: the weighted cross-entropy, in each way of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import synthetic_provenance
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from features.cache.store import read_features, verify_features
from features.cache.writer import FeatureWriter
from pipeline.heads.registry import HeadConfig, new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.objective.weights import class_weights, shares, training_counts

WEIGHTS = torch.tensor([0.5, 3.0, 1.0])
BALANCED = TrainConfig(class_weights="balanced")


def test_balanced_weights_are_scikit_learns():
    labels = np.repeat([0, 1, 2], [3, 20, 77])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = class_weights(BALANCED, torch.from_numpy(np.bincount(labels)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # A class without rows is none; a row of counts a head.
    assert class_weights(BALANCED, torch.tensor([[2, 2, 0], [1, 0, 3]])).tolist() == [
        [1.0, 1.0, 2.0],
        pytest.approx([2.0, 2.0, 2 / 3]),
    ]
    assert class_weights(TrainConfig(), torch.tensor([1, 2])) is None


def gradients(head, how):
    head.zero_grad()
    loss = how(head)
    return loss, {
        name: parameter.grad.clone() for name, parameter in head.named_parameters() if parameter.requires_grad
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("quantum", {}),
        ("quantum", {"simulator": "dense"}),
        ("quantum", {"circuit": "strongly-entangling", "depth": 1}),
        ("frozen", {}),
        ("classical", {}),
        ("mlp", {}),
        ("linear", {}),
    ],
)
def test_gradients_are_those_of_torchs_weighted_loss(name, options):
    head = new_head(HeadConfig(head=name, qubits=3, **{"depth": 2, "q_delta": 1.0} | options), 6, 3).double()
    features = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 0, 2, 1, 0])
    weights = WEIGHTS.double()

    def by_torch(head):
        loss = nn.CrossEntropyLoss(weight=weights)(head(features), labels)
        loss.backward()
        return loss.item()

    def by_us(head):
        return head.backward_cross_entropy(features, labels, shares(weights, labels))[0].item()

    expected, wanted = gradients(head, by_torch)
    loss, found = gradients(head, by_us)
    assert loss == pytest.approx(expected, abs=1e-12)
    for parameter, gradient in wanted.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=0, atol=1e-10, msg=parameter)


@pytest.mark.parametrize("name", ["quantum", "classical", "surrogate"])
def test_heads_side_by_side_have_weights_of_their_own(name):
    heads = [new_head(HeadConfig(head=name, qubits=2, depth=1, q_delta=1.0, seed=seed), 6, 2) for seed in (0, 1)]
    weights = torch.tensor([[1.0, 3.0], [2.0, 0.5]])
    labels = torch.tensor([[0, 1, 1], [1, 0, 0]])
    features = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    together = stack(heads)
    losses, _ = together.backward_cross_entropy(features, labels, shares=shares(weights, labels))
    for k, head in enumerate(heads):
        loss = nn.CrossEntropyLoss(weight=weights[k])(head(features[k]), labels[k])
        loss.backward()
        assert losses[k] == pytest.approx(loss.item(), abs=1e-6)
        for parameter, wanted in head.named_parameters():
            found = together.head.get_parameter(parameter).grad[k]
            torch.testing.assert_close(found, wanted.grad, rtol=0, atol=1e-6, msg=parameter)


@pytest.fixture
def config(tmp_path):
    """A training on 40 blue rows and 4 red ones, which overlap."""
    rng = np.random.default_rng(0)
    labels = {"train": (0,) * 40 + (1,) * 4, "val": (0, 1) * 20}
    paths = {split: tuple(f"{split}/{row:02}.png" for row in range(len(rows))) for split, rows in labels.items()}
    file = tmp_path / "rare.h5"
    with FeatureWriter(file, paths, labels, 8) as writer:
        for split, of_split in labels.items():
            centre = np.array(of_split)[:, None] * 1.2
            writer.write(split, 0, (centre + rng.normal(size=(len(of_split), 8))).astype(np.float32))
        writer.finish(synthetic_provenance())
    return TrainConfig(features=file, out=tmp_path / "run", epochs=20, batch=8, lr=0.01, lr_step=20, depth=1)


def recall_of_the_rare(run, config):
    val = read_features(config.features).val
    with torch.no_grad():
        guesses = run.head()(torch.from_numpy(val.features)).argmax(dim=1).numpy()
    return (guesses == 1)[val.labels == 1].mean()


def test_a_rare_class_is_found_more_often(config, tmp_path):
    alike = train(config)
    balanced = train(replace(config, class_weights="balanced", out=tmp_path / "balanced"))
    assert recall_of_the_rare(balanced, config) > recall_of_the_rare(alike, config) + 0.2
    # Losses stay those of all rows alike.
    assert balanced.history[-1].train_loss > alike.history[-1].train_loss


def test_every_way_of_training_weighs_alike(config, tmp_path):
    balanced = replace(config, class_weights="balanced")
    assert training_counts(verify_features(config.features)).tolist() == [40, 4]
    alone = train(replace(balanced, simulator="dense"))
    together = train_many(replace(balanced, seeds=2, out=tmp_path / "two"))[0]
    lightning = train(replace(balanced, out=tmp_path / "lightning"))
    for name, values in alone.weights["last"].items():
        np.testing.assert_allclose(together.weights["last"][name], values, atol=1e-4)
        np.testing.assert_allclose(lightning.weights["last"][name], values, atol=1e-4)


def test_rows_from_the_disk_are_weighted_too(config, tmp_path):
    streamed = replace(config, memory_limit=1e-9)
    alike = train(streamed)
    balanced = train(replace(streamed, class_weights="balanced", out=tmp_path / "balanced"))
    assert recall_of_the_rare(balanced, config) > recall_of_the_rare(alike, config) + 0.2


def test_logistic_regression_is_weighted_by_scikit_learn(config):
    run = train(replace(config, head="logistic", class_weights="balanced"))
    rows = read_features(config.features).train
    head = run.head()
    model = LogisticRegression(C=head.C.item(), class_weight="balanced", max_iter=2000)
    model.fit(rows.features.astype(np.float64), rows.labels)
    difference = (head.linear.weight[1] - head.linear.weight[0]).detach().numpy()
    np.testing.assert_allclose(difference, model.coef_[0], atol=1e-4)


@pytest.mark.parametrize("head", ["rbf-svm", "fidelity-svm"])
def test_support_vector_machines_are_weighted_too(config, head, tmp_path):
    alike = train(replace(config, head=head))
    balanced = train(replace(config, head=head, class_weights="balanced", out=tmp_path / "balanced"))
    assert recall_of_the_rare(balanced, config) >= recall_of_the_rare(alike, config)
    assert balanced.history[-1].val_loss != alike.history[-1].val_loss
