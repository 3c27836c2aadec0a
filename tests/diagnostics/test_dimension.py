import math

import numpy as np
import pennylane as qml
import pytest
import torch
from diagnosed import subject_of
from torch import nn

from pipeline.diagnostics.dimension import at_trained_weights, effective_dimension, of_circuit, of_head
from pipeline.diagnostics.subject import NotDefinedError, subject_named, subject_of_head
from pipeline.heads.dressed import DressedQuantumNet

KAPPA = 1000 / (2 * math.pi * math.log(1000))


def test_where_all_weights_count_alike_it_is_their_number_nearly():
    found = effective_dimension(np.full((3, 5), 0.2), 1000)
    assert found.value == pytest.approx(5 * math.log(1 + KAPPA) / math.log(KAPPA))
    assert (found.spectrum, found.rank, found.error) == ([1] * 5, 5, 0)


def test_a_degenerate_model_has_its_closed_form():
    # One direction of two counts: F̂ = diag(2, 0).
    found = effective_dimension(np.array([[0.3, 0.0]]), 1000)
    assert found.value == pytest.approx(math.log(1 + 2 * KAPPA) / math.log(KAPPA))
    assert (found.rank, found.error) == (1, None)


def test_a_model_that_never_moves_has_none():
    found = effective_dimension(np.zeros((2, 4)), 1000)
    assert (found.value, found.normalised, found.rank) == (0, 0, 0)


def test_the_mean_over_weights_is_that_of_the_root_determinants():
    spectra = np.array([[3.0, 1.0], [0.5, 0.1], [2.0, 0.2]])
    scaled = 2 * spectra / spectra.sum(axis=1).mean()
    roots = np.sqrt(np.prod(1 + KAPPA * scaled, axis=1))
    found = effective_dimension(spectra, 1000)
    assert found.value == pytest.approx(2 * math.log(roots.mean()) / math.log(KAPPA))
    delta = 2 * roots.std(ddof=1) / math.sqrt(3) / roots.mean() / math.log(KAPPA)
    assert found.error == pytest.approx(delta)


def test_a_logistic_model_has_its_closed_form():
    # Two logits (w·x, 0): F = mean of p (1 - p) x xᵀ.
    head = nn.Linear(3, 1, bias=False).double()
    model = nn.Sequential(head, Pair())
    features = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = of_head(model, features, 1000)
    p = torch.sigmoid(features @ head.weight[0]).detach()
    fisher = (features.T * (p * (1 - p))) @ features / 40
    eigenvalues = torch.linalg.eigvalsh(fisher).flip(0)
    np.testing.assert_allclose(found.spectrum, 3 * eigenvalues / eigenvalues.sum(), atol=1e-12)


class Pair(nn.Module):
    def forward(self, values):
        return torch.cat([values, torch.zeros_like(values)], dim=1)


def one_wire(inputs, weights):
    qml.RY(inputs[..., 0], wires=0)
    qml.RY(weights[0], wires=0)
    qml.RZ(weights[1], wires=0)
    return qml.expval(qml.Z(0))


def test_a_circuit_has_its_closed_form():
    # f = cos(x + θ), logits (f, 0): F = mean of p (1 - p) sin², for the first weight; the second does nothing.
    trained = np.array([0.4, 1.0])
    subject = subject_of(one_wire, 1, 2, known_inputs=np.linspace(-1, 1, 20)[:, None], trained=trained)
    found = of_circuit(subject, 30, 20, 1000, 0)
    assert (found.weights, found.rank) == (2, 1)
    assert 0.4 < found.normalised < 0.65
    local = at_trained_weights(subject, 20, 1000, 0)
    assert local.spectrum == pytest.approx([2, 0])
    assert local.value == pytest.approx(math.log(1 + 2 * KAPPA) / math.log(KAPPA))


def test_the_whole_head_and_its_circuit_agree_with_autograd():
    torch.manual_seed(0)
    head = DressedQuantumNet(6, 3, n_qubits=2, depth=2, q_delta=1.0, circuit="strongly-entangling").double()
    features = torch.randn(9, 6, dtype=torch.float64)
    subject = subject_of_head("mine", head, features)
    whole, circuit = of_head(head, features, 1000), at_trained_weights(subject, 9, 1000, 0)
    for found, names in ((whole, None), (circuit, {"q_params"})):
        parameters = [p for name, p in head.named_parameters() if names is None or name in names]
        size = sum(p.numel() for p in parameters)
        fisher = torch.zeros(size, size, dtype=torch.float64)
        for row in features:
            logs = head(row[None]).log_softmax(dim=1)[0]
            for log in logs:
                parts = torch.autograd.grad(log, parameters, retain_graph=True)
                score = torch.cat([part.flatten() for part in parts])
                fisher += log.exp().detach() * torch.outer(score, score) / 9
        expected = torch.linalg.eigvalsh(fisher).flip(0).clamp(0)
        assert found.weights == size
        np.testing.assert_allclose(found.spectrum, size * expected / expected.sum(), atol=1e-8)


def test_a_head_with_too_many_derivatives_is_refused():
    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(1).expand(1 << 20))

        def forward(self, features):
            return torch.zeros(len(features), 1 << 8)

    with pytest.raises(NotDefinedError, match="its 536,870,912 derivatives are too many; take fewer --rows"):
        of_head(Huge(), torch.zeros(2, 1), 1000)


def test_a_circuit_without_weights_has_no_dimension():
    with pytest.raises(NotDefinedError, match="no weights"):
        of_circuit(subject_named("mari", 2, 0, "chain"), 3, 3, 1000, 0)
