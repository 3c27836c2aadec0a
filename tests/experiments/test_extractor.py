import numpy as np
import pennylane as qml
import pytest
import torch

from features.cache.store import read_features
from pipeline.experiments.paper.states.extractor import KEPT, N_EACH, STRONG_NOISE, extractor, samples, write_cache
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run

SEEDS = (3, 4)


@pytest.fixture(scope="module")
def pretrained():
    return extractor(SEEDS)


@pytest.fixture(scope="module")
def states():
    return samples(SEEDS, STRONG_NOISE)


def test_pretraining_learns_its_own_task(pretrained):
    assert min(pretrained.accuracies) > 0.95
    assert pretrained.weights.shape == (2, KEPT.n_weights)


def test_untrained_is_where_the_pretrained_one_started():
    untrained = extractor(SEEDS, pretrained=False)
    assert untrained.accuracies == []
    assert untrained.weights.abs().max() < 0.5
    assert not torch.equal(untrained.weights[0], untrained.weights[1])


def test_training_and_test_states_differ_and_follow_from_the_seed(states):
    train_states, test_states = states
    assert train_states.features.shape == (2, 7 * N_EACH, 16)
    assert not torch.equal(train_states.features, test_states.features)
    assert not torch.equal(train_states.features[0], train_states.features[1])
    alone = samples(SEEDS[1:], STRONG_NOISE)[0]
    assert torch.equal(alone.features[0], train_states.features[1])


def test_the_cache_holds_what_a_qnode_measures(pretrained, states, tmp_path):
    path = tmp_path / "states" / "pretrained-4.h5"
    write_cache(path, 4, pretrained, 1, *states)
    features = read_features(path)
    assert features.train.features.shape == (7 * N_EACH, 16)
    assert features.provenance.classes == ("L", "O", "T", "I", "S", "J", "Z")
    assert "first 6 of 8 layers" in features.provenance.backbone

    @qml.qnode(qml.device("default.qubit", wires=4))
    def probabilities(state):
        qml.StatePrep(state, wires=range(4), normalize=True)
        KEPT.variational_block(pretrained.weights[1].double().numpy())
        return qml.probs(wires=range(4))

    for row in range(8):
        theirs = np.sqrt(probabilities(states[1].features[1, row].double().numpy()))
        assert np.allclose(features.val.features[row], theirs, atol=1e-5)
    assert features.val.labels[:8].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_caches_of_other_weights_have_other_fingerprints(pretrained, states, tmp_path):
    first = write_cache(tmp_path / "0.h5", 3, pretrained, 0, *states)
    second = write_cache(tmp_path / "1.h5", 4, pretrained, 1, *states)
    assert first.provenance.weights_sha256 != second.provenance.weights_sha256
    assert first.provenance.images_sha256 != second.provenance.images_sha256
    assert first.provenance.weights == "pretrained, seed 3"


@pytest.mark.parametrize("head", ["linear", "quantum"])
def test_stage_2_trains_on_the_cache_as_on_any_other(head, pretrained, states, tmp_path):
    path = tmp_path / "states.h5"
    write_cache(path, 3, pretrained, 0, *states)
    train(TrainConfig(features=path, out=tmp_path / "run", head=head, epochs=1, batch=7, lr=0.01))
    run = load_run(tmp_path / "run")
    assert run.history[-1].val_accuracy > 0.6
    assert run.features.provenance.backbone.startswith("quantum circuit of 4 qubits")
