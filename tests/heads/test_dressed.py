"""The heads as torch modules: values, gradients, state, copies, processes, bad input."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import warnings

import pytest
import torch
from gradients import gradients, rows
from pennylane_lightning.lightning_qubit import LightningQubit
from torch import nn
from torch.utils.data import DataLoader, Dataset

from pipeline.heads import dressed as heads
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.quantum import lightning
from pipeline.quantum.engine.engine import Engine


def make(simulator="lightning", seed=0, **options):
    torch.manual_seed(seed)
    return DressedQuantumNet(
        **{"n_features": 6, "n_qubits": 3, "depth": 2, "q_delta": 1.0, "simulator": simulator} | options
    )


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("n_samples", [1, 5, 20])
def test_as_the_qnode(simulator, n_samples):
    reference = make("qnode").double()
    head = make(simulator).double()
    features = rows(n_samples, dtype=torch.float64).requires_grad_()
    other = features.detach().clone().requires_grad_()
    upstream = torch.randn(n_samples, 2, dtype=torch.float64)
    expected, expected_gradients = gradients(reference, features, upstream)
    logits, own_gradients = gradients(head, other, upstream)
    for own, theirs in zip(
        [logits, other.grad, *own_gradients], [expected, features.grad, *expected_gradients], strict=True
    ):
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-10)


def test_the_demo_loads_and_the_same_seed_gives_its_values():
    class Demo(nn.Module):
        def __init__(self):
            super().__init__()
            self.pre_net = nn.Linear(512, 4)
            self.q_params = nn.Parameter(0.01 * torch.randn(24))
            self.post_net = nn.Linear(4, 2)

    torch.manual_seed(42)
    demo = Demo().state_dict()
    torch.manual_seed(42)
    head = DressedQuantumNet()
    assert sum(parameter.numel() for parameter in head.parameters()) == 2086
    assert {name: tensor.tolist() for name, tensor in head.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in demo.items()
    }
    head.load_state_dict(demo)


def test_dtypes():
    assert make()(rows()).dtype == torch.float32
    assert make().double()(rows(dtype=torch.float64)).dtype == torch.float64
    single = make(c_dtype="complex64")
    logits, own = gradients(single, rows(), torch.ones(5, 2))
    expected, theirs = gradients(make(), rows(), torch.ones(5, 2))
    for tensor, reference in zip([logits, *own], [expected, *theirs], strict=True):
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
def test_gradcheck(simulator):
    head = make(simulator).double()
    features = rows(3, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in head.named_parameters()]
    parameters = tuple(parameter.detach().clone().requires_grad_() for parameter in head.parameters())

    def function(features, *parameters):
        return torch.func.functional_call(head, dict(zip(names, parameters, strict=True)), (features,))

    assert torch.autograd.gradcheck(function, (features, *parameters))
    angles = rows(3, 3, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(head.expectation_values, (angles,))


def test_second_derivatives():
    for simulator in ("lightning", "dense"):
        head = make(simulator).double()
        assert torch.autograd.gradgradcheck(head, (rows(3, dtype=torch.float64).requires_grad_(),))
        angles = rows(3, 3, torch.float64).requires_grad_()
        assert torch.autograd.gradgradcheck(head.expectation_values, (angles,))
    # A penalty on the gradients of all parameters.
    penalties = []
    for simulator in ("lightning", "dense", "qnode"):
        head = make(simulator).double()
        loss = head(rows(dtype=torch.float64)).square().sum()
        grads = torch.autograd.grad(loss, list(head.parameters()), create_graph=True)
        penalty = sum(gradient.square().sum() for gradient in grads)
        penalties.append(torch.autograd.grad(penalty, list(head.parameters())))
    for seen in penalties[:2]:
        torch.testing.assert_close(seen, penalties[2], rtol=0, atol=1e-8)


@pytest.fixture
def counted(monkeypatch):
    """What the engine was asked for: whether to keep states, and which gradients."""
    calls = []
    forward, backward = Engine.forward, Engine.backward

    def counted_forward(self, inputs, weights, keep=True):
        calls.append(("forward", keep))
        return forward(self, inputs, weights, keep)

    def counted_backward(self, memory, upstream, need_inputs=True, need_weights=True):
        calls.append(("backward", need_inputs, need_weights))
        return backward(self, memory, upstream, need_inputs, need_weights)

    # Its first use compares it with a QNode.
    assert make().simulator == "lightning"
    monkeypatch.setattr(Engine, "forward", counted_forward)
    monkeypatch.setattr(Engine, "backward", counted_backward)
    return calls


def test_no_derivative_where_none_is_asked_for(counted):
    head = make().eval()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert not head(rows()).requires_grad
            assert not head.expectation_values(rows(5, 3)).requires_grad
    head.requires_grad_(False)
    assert not head(rows()).requires_grad
    assert counted == [("forward", False)] * 5


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        (["pre_net.weight"], [("backward", True, False)]),
        (["pre_net.bias", "q_params"], [("backward", True, True)]),
        (["q_params"], [("backward", False, True)]),
        (["post_net.weight", "post_net.bias"], []),
    ],
)
def test_gradients_only_where_required(counted, trained, expected):
    head = make()
    _, reference = gradients(head, rows(), torch.ones(5, 2))
    for name, parameter in head.named_parameters():
        parameter.requires_grad_(name in trained)
    counted.clear()
    _, own = gradients(head, rows(), torch.ones(5, 2))
    assert counted == [("forward", True), *expected]
    for (name, _), gradient, other in zip(head.named_parameters(), own, reference, strict=True):
        assert (gradient is not None) == (name in trained)
        assert gradient is None or torch.equal(gradient, other)


def test_a_parameter_changed_between_forward_and_backward_is_refused():
    head = make()
    loss = head(rows()).sum()
    with torch.no_grad():
        head.post_net.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_backward_twice():
    head = make()
    loss = head(rows()).sum()
    first = torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, list(head.parameters())), strict=True):
        assert torch.equal(one, other)


def test_hooks_and_other_layers_are_honoured():
    head = make()
    expected = head(rows())
    seen = []
    handle = head.pre_net.register_forward_hook(lambda *args: seen.append(args))
    torch.testing.assert_close(head(rows()), expected)
    assert len(seen) == 1
    handle.remove()
    with warnings.catch_warnings():
        nn.utils.parametrizations.weight_norm(head.pre_net)
    torch.testing.assert_close(head(rows()), expected)


@pytest.mark.parametrize("simulator", ["lightning", "qnode", "dense"])
def test_copies(simulator):
    head = make(simulator)
    expected, _ = gradients(head, rows(), torch.ones(5, 2))
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        logits, _ = gradients(other, rows(), torch.ones(5, 2))
        assert torch.equal(logits, expected)


class Logits(Dataset):
    """Samples that are themselves results of a head, so that workers have to run it."""

    def __init__(self, head):
        self.head = head

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.head(rows(3, seed=index)).detach()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_workers(method):
    head = make()
    expected = torch.stack([head(rows(3, seed=k)).detach() for k in range(4)])
    loader = DataLoader(Logits(head), batch_size=2, num_workers=1, multiprocessing_context=method)
    torch.testing.assert_close(torch.cat(list(loader)), expected)


def test_threads():
    head = make(n_qubits=5)
    expected = [gradients(copy.deepcopy(head), rows(seed=k), torch.ones(5, 2)) for k in range(4)]
    results = [None] * 4

    def run(k):
        for _ in range(20):
            results[k] = gradients(copy.deepcopy(head), rows(seed=k), torch.ones(5, 2))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for (logits, own), (reference, theirs) in zip(results, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip([logits, *own], [reference, *theirs], strict=True))


@pytest.mark.parametrize("simulator", ["lightning", "qnode", "dense"])
def test_bad_features(simulator):
    head = make(simulator)
    for shape in ((3, 5), (0, 5), (6,)):
        with pytest.raises(ValueError, match=r"features have shape .*; this head takes \(B, 6\): give it features"):
            head(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"features are torch.float64 and the head is torch.float32; convert one"):
        head(rows(dtype=torch.float64))
    for value in (math.nan, math.inf):
        features = rows()
        features[3, 2] = value
        with pytest.raises(ValueError, match=f"row 3 of the features holds {value} in column 2; .* extract them again"):
            head(features)
    with torch.no_grad():
        head.pre_net.weight[0, 0] = math.nan
    with pytest.raises(
        ValueError, match=r"parameters are not finite, .* training has diverged; lower the learning rate"
    ):
        head(rows())


@pytest.mark.parametrize("simulator", ["lightning", "dense"])
def test_cross_entropy_without_autograd(simulator):
    head, reference = make(simulator, n_classes=3), make(simulator, n_classes=3)
    labels = torch.tensor([0, 2, 1, 1, 0])
    for _ in range(2):
        loss, logits = head.backward_cross_entropy(rows(), labels)
    expected = reference(rows())
    expected_loss = nn.functional.cross_entropy(expected, labels)
    expected_loss.backward()
    assert loss.shape == ()
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected_loss.detach())
    torch.testing.assert_close(logits, expected.detach())
    for parameter, other in zip(head.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)
    head.q_params.requires_grad_(False)
    head.backward_cross_entropy(rows(), labels)
    assert head.q_params.grad is None
    torch.testing.assert_close(head.post_net.bias.grad, reference.post_net.bias.grad)


def test_labels_that_are_no_classes():
    for labels in ([0, 1, 0, 1, 2], [0, 1, 0, 1, -1], [0, 1]):
        with pytest.raises(
            ValueError, match=r"labels of shape .*; \(5,\) of them are wanted, one a sample, from 0 to 1"
        ):
            make().backward_cross_entropy(rows(), torch.tensor(labels))


def test_diverged_quantum_weights():
    head = make()
    with torch.no_grad():
        head.q_params[0] = math.nan
    with pytest.raises(ValueError, match="training has diverged"):
        head(rows())


def test_bad_arguments():
    with pytest.raises(ValueError, match="simulator is 'gpu'; choose one of lightning, qnode, dense"):
        make("gpu")
    with pytest.raises(ValueError, match="c_dtype is 'float64'; choose one of complex128, complex64"):
        make(c_dtype="float64")
    with pytest.raises(ValueError, match=r"n_qubits is 40: simulator='lightning' would take about [\d,]+ GiB"):
        make(n_qubits=40)


@pytest.fixture
def _unexpected_bindings(monkeypatch):
    heads._lightning_works.cache_clear()
    lightning.bindings_problem.cache_clear()
    monkeypatch.setattr(lightning, "_STATE_VECTORS", {"complex64": "Renamed", "complex128": "Renamed"})
    yield
    heads._lightning_works.cache_clear()
    lightning.bindings_problem.cache_clear()


@pytest.mark.usefixtures("_unexpected_bindings")
def test_other_bindings_fall_back_to_the_qnode_with_one_warning():
    with pytest.warns(RuntimeWarning, match=r"bindings are not as expected \(AttributeError") as warned:
        head, _ = make(), make()
    assert len(warned) == 1
    assert head.simulator == "qnode"
    assert head.device_name == "lightning.qubit"
    logits, _ = gradients(head, rows(), torch.ones(5, 2))
    torch.testing.assert_close(logits, make("dense")(rows()).detach())


def test_qnodes_on_lightning_compute_no_jacobian_without_gradient(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a Jacobian was computed")

    head = make("qnode", device="lightning.qubit")
    for name in ("compute_derivatives", "execute_and_compute_derivatives"):
        monkeypatch.setattr(LightningQubit, name, refuse)
    with torch.no_grad():
        head(rows())
