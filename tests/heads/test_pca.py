"""pipeline.heads.controls.pca: the angles are scikit-learn's whitened components, of the training rows alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from features.util.errors import InputError
from pipeline.heads.base import QUARTER_TURN
from pipeline.heads.controls.pca import PcaNet, whitening
from pipeline.heads.registry import new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.training.config import TrainConfig
from pipeline.training.multi_seed import train_epochs


def drawn(n, width=12, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(3, 1, (n, width)) @ rng.normal(0, 1, (width, width))).astype(np.float32)


@pytest.mark.parametrize("n", [40, 5])
def test_the_angles_are_scikit_learns_whitened_components(n):
    rows = drawn(n)
    head = PcaNet(12, 2, n_qubits=4, depth=2)
    head.prepare(torch.from_numpy(rows), torch.zeros(n, dtype=torch.int64), seed=0)
    expected = PCA(4, whiten=True, svd_solver="full").fit(rows.astype(float))
    others = drawn(9, seed=1)
    with torch.no_grad():
        angles = head.angles(torch.from_numpy(others)).numpy()
    signs = np.sign((expected.components_ * head.pre_net.weight.detach().numpy()).sum(axis=1))
    np.testing.assert_allclose(angles, np.tanh(expected.transform(others) * signs) * np.pi / 2, atol=2e-5)
    assert head.pre_net.weight[0].abs().max() == head.pre_net.weight[0].max()
    assert np.abs(angles).max() <= QUARTER_TURN


def test_components_that_rows_do_not_have_give_the_angle_zero():
    rows = drawn(3)
    mean, directions = whitening(np.concatenate([rows, rows]).astype(float), 5)
    assert (np.abs(directions).max(axis=1) > 0).tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(((rows - mean) @ directions.T)[:, :2].std(axis=0, ddof=0), np.sqrt(5 / 6), atol=1e-6)
    assert not whitening(np.ones((4, 6)), 3)[1].any()


def test_only_the_circuit_and_the_last_layer_are_trained():
    head = PcaNet(12, 3, n_qubits=4, depth=6)
    assert head.n_trainable == 24 + 4 * 3 + 3
    assert head.n_middle == 24
    assert head.description.startswith("4 principal components, 4 qubits, depth 6")
    amplitudes = new_head(TrainConfig(head="pca", circuit="amplitude", qubits=3, depth=1), 12, 2)
    assert amplitudes.pre_net.weight.shape == (8, 12)


def test_heads_side_by_side_see_their_own_training_rows_alone():
    config = TrainConfig(head="pca", epochs=1, simulator="dense")
    features, labels = torch.from_numpy(drawn(30)), torch.arange(30) % 2
    heads = [new_head(replace(config, seed=seed), 12, 2) for seed in (1, 2, 3)]
    nets = stack(heads)
    own = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(k))[:20] for k in range(3)])
    for _ in train_epochs(config, nets, [1, 2, 3], features, labels, own):
        pass
    for index, (head, rows) in enumerate(zip(heads, own, strict=True)):
        head.prepare(features[rows], labels[rows], 0)
        assert torch.equal(nets.head_state(index)["pre_net.weight"], head.pre_net.weight)
        assert torch.equal(nets.head_state(index)["pre_net.bias"], head.pre_net.bias)
        assert not torch.equal(nets.head_state(index)["q_params"], head.q_params)
    assert not torch.equal(nets.head_state(0)["pre_net.weight"], nets.head_state(1)["pre_net.weight"])


def test_what_it_can_not_be_fitted_to():
    head = PcaNet(12, 2)
    with pytest.raises(InputError, match="principal components need 2 training rows or more; here is 1"):
        head.prepare(torch.zeros(1, 12), torch.zeros(1, dtype=torch.int64), 0)
    with pytest.raises(ValueError, match="--views is 3; --head pca is fitted once: it takes the plain images"):
        TrainConfig(head="pca", views=3)
    with pytest.raises(ValueError, match="not --seeds, --views, --head pca"):
        TrainConfig(head="pca", engine="ray")
