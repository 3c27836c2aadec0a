"""A head as PyTorch's users use it: transforms, recorded graphs, autocast, other dtypes, empty batches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy

from pipeline import DressedQuantumNet

SIMULATORS = ["lightning", "dense", "qnode"]
# torch scripts its own rules for derivatives forward.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def make(simulator="lightning", **options):
    torch.manual_seed(0)
    head = DressedQuantumNet(6, 2, n_qubits=3, depth=2, q_delta=1.0, simulator=simulator, **options).double()
    return head, {name: parameter.detach() for name, parameter in head.named_parameters()}


def batch(n_samples=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n_samples, 6, generator=generator, dtype=torch.float64), torch.arange(n_samples) % 2


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_graph_by_make_fx_is_a_function_of_the_features(simulator):
    head, _ = make(simulator)
    features, _ = batch()
    graph = make_fx(lambda rows: head(rows))(features)
    torch.testing.assert_close(graph(features + 1), head(features + 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_per_sample_gradients(simulator):
    head, parameters = make(simulator)
    features, labels = batch()

    def loss(parameters, sample, label):
        return cross_entropy(functional_call(head, parameters, (sample[None],)), label[None])

    seen = vmap(grad(loss), (None, 0, 0))(parameters, features, labels)
    for k, sample in enumerate(features):
        head.zero_grad()
        cross_entropy(head(sample[None]), labels[k : k + 1]).backward()
        for name, parameter in head.named_parameters():
            torch.testing.assert_close(seen[name][k], parameter.grad, rtol=0, atol=1e-10)


@forward_mode
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_jacobians_and_hessians(simulator):
    head, parameters = make(simulator)
    features, _ = batch()
    seen = jacrev(lambda p: functional_call(head, p, (features,)))(parameters)
    logits = head(features)
    for row, column in ((0, 1), (3, 0)):
        found = torch.autograd.grad(logits[row, column], list(head.parameters()), retain_graph=True)
        for name, expected in zip(parameters, found, strict=True):
            torch.testing.assert_close(seen[name][row, column], expected, rtol=0, atol=1e-10)

    def total(weights):
        return functional_call(head, parameters | {"q_params": weights}, (features,)).square().sum()

    expected = torch.autograd.functional.hessian(total, parameters["q_params"])
    torch.testing.assert_close(hessian(total)(parameters["q_params"]), expected, rtol=0, atol=1e-9)


@forward_mode
@pytest.mark.parametrize("simulator", ["lightning", "dense"])
def test_an_ensemble_by_vmap_and_a_directional_derivative(simulator):
    head, parameters = make(simulator)
    features, _ = batch()
    doubled = {name: 2 * value for name, value in parameters.items()}
    stacked = {name: torch.stack([value, doubled[name]]) for name, value in parameters.items()}
    seen = vmap(lambda p: functional_call(head, p, (features,)))(stacked)
    torch.testing.assert_close(seen[0], head(features), rtol=0, atol=1e-10)
    torch.testing.assert_close(seen[1], functional_call(head, doubled, (features,)), rtol=0, atol=1e-10)
    _, slope = jvp(head, (features,), (features,))
    step = 1e-6 * features
    torch.testing.assert_close(slope, (head(features + step) - head(features - step)) / 2e-6, rtol=0, atol=1e-7)


def test_what_a_qnode_can_not_do_is_said():
    head, parameters = make("qnode")
    stacked = {name: torch.stack([value, value]) for name, value in parameters.items()}
    features, _ = batch()
    with pytest.raises(RuntimeError, match=r"runs as an ordinary QNode, .* simulator='lightning' or 'dense' can"):
        vmap(lambda p: functional_call(head, p, (features,)))(stacked)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_autocast_takes_features_of_half_the_precision(simulator):
    head, _ = make(simulator)
    head.float()
    features, labels = batch()
    expected = head(features.float()).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (features.float(), features.bfloat16()):
            logits = head(given)
            cross_entropy(logits.float(), labels).backward()
            torch.testing.assert_close(logits.detach().float(), expected, rtol=0, atol=0.05)
    assert all(parameter.grad.dtype == torch.float32 for parameter in head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_heads_of_half_the_precision(simulator, dtype):
    head, _ = make(simulator)
    features, _ = batch()
    expected = head(features).detach()
    half = copy.deepcopy(head).to(dtype)
    logits = half(features.to(dtype))
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.detach().double(), expected, rtol=0, atol=0.05)
    logits.sum().backward()
    assert half.q_params.grad.dtype == dtype


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_an_empty_batch_has_no_logits_and_zero_gradients(simulator):
    head, _ = make(simulator)
    features = torch.zeros(0, 6, dtype=torch.float64, requires_grad=True)
    logits = head(features)
    assert logits.shape == (0, 2)
    logits.sum().backward()
    assert features.grad.shape == (0, 6)
    for parameter in head.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    with torch.no_grad():
        assert head(features).shape == (0, 2)
