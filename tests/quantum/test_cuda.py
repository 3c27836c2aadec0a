"""The dense form on a GPU: as on the CPU, in values and gradients, for every kind of circuit and head."""

from __future__ import annotations

import copy

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn

from pipeline import DressedQuantumNet, TorchLayer
from pipeline.heads.registry import HeadConfig, new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.quantum.circuits import CIRCUITS
from pipeline.quantum.compiled import compile_circuit
from tests.random_circuits import RandomCircuit, by_qnode

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def results(module: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Outputs, and the gradients of inputs and parameters."""
    module.zero_grad()
    inputs = inputs.clone().requires_grad_()
    outputs = module(inputs)
    outputs.square().sum().backward()
    # Copies: ``to`` moves a module's gradients along.
    found = [outputs.detach(), inputs.grad, *(p.grad.clone() for p in module.parameters())]
    assert all(tensor.device == inputs.device for tensor in found)
    return found


def assert_same(there: list[torch.Tensor], here: list[torch.Tensor], tolerance: float) -> None:
    for found, expected in zip(there, here, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("simulator", ["lightning", "dense"])
@pytest.mark.parametrize("name", CIRCUITS)
def test_a_dressed_circuit_moves_there_and_back(name, simulator, dtype, tolerance):
    torch.manual_seed(0)
    head = DressedQuantumNet(7, 3, 3, 2, q_delta=1.0, circuit=name, simulator=simulator).to(dtype)
    features = torch.randn(5, 7, dtype=dtype)
    here = results(head, features)
    head.to("cuda")
    assert_same(results(head, features.cuda()), here, tolerance)
    assert head(features.cuda()[:0]).shape == (0, 3)
    head.to("cpu")
    assert_same(results(head, features), here, 1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("polynomial", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_a_random_circuit_is_an_ordinary_qnode(seed, polynomial):
    circuit = RandomCircuit(seed, 1 + seed % 6, polynomial=polynomial)
    rng = np.random.default_rng(seed)
    inputs, weights = rng.normal(size=(3, circuit.n_inputs)), rng.normal(size=circuit.n_weights)
    compiled = compile_circuit(circuit, circuit.weight_shapes, circuit.n_inputs)
    leaves = [torch.from_numpy(array).cuda().requires_grad_() for array in (inputs, weights)]
    values = compiled(leaves[0], {"weights": leaves[1]})
    assert compiled.fallback_reason is None
    upstream = rng.normal(size=tuple(values.shape))
    expected = by_qnode(circuit, inputs, weights, upstream)
    found = torch.autograd.grad(values, leaves, torch.from_numpy(upstream).cuda(), materialize_grads=True)
    assert all(tensor.is_cuda for tensor in (values, *found))
    for own, reference in zip((values.detach(), *found), expected, strict=True):
        np.testing.assert_allclose(own.cpu(), reference, rtol=0, atol=1e-10)


def layer(device: str = "lightning.qubit") -> TorchLayer:
    @qml.qnode(qml.device(device, wires=3))
    def circuit(inputs, rotations, scale):
        for rotation in rotations:
            qml.AngleEmbedding(scale * inputs, wires=range(3))
            qml.StronglyEntanglingLayers(rotation[None], wires=range(3))
        return [qml.expval(qml.Z(0) @ qml.X(1)), qml.expval(qml.Hamiltonian([0.5, -2.0], [qml.Y(2), qml.Z(1)]))]

    torch.manual_seed(1)
    return TorchLayer(circuit, {"rotations": (2, 3, 3), "scale": 1})


def test_a_layer_in_a_sequential_trains_as_on_the_cpu():
    model = nn.Sequential(nn.Linear(6, 3), layer(), nn.Linear(2, 2)).double()
    features, labels = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 2
    trained = []
    for device in ("cpu", "cuda"):
        own = copy.deepcopy(model).to(device)
        optimizer = torch.optim.Adam(own.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(own(features.to(device)), labels.to(device)).backward()
            optimizer.step()
        trained.append([p.detach().cpu() for p in own.parameters()])
        assert own[1].fallback_reason is None
    assert_same(trained[1], trained[0], 1e-9)


def test_transforms_and_second_derivatives():
    module = layer().double().to("cuda")
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    inputs = torch.randn(4, 3, dtype=torch.float64, device="cuda")

    def loss(parameters, row):
        return torch.func.functional_call(module, parameters, (row[None],)).square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, inputs)
    module(inputs).square().sum().backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(per_sample[name].sum(0), parameter.grad, rtol=0, atol=1e-10)
    assert torch.autograd.gradgradcheck(module, (inputs[:2].clone().requires_grad_(),))


def test_autocast_rounds_inputs_and_outputs_only():
    module, inputs = layer().to("cuda"), torch.randn(4, 3, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        rounded = module(inputs.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded, module(inputs.bfloat16().float()).bfloat16())


@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream:UserWarning")
def test_a_graph_of_kernels_can_be_captured():
    module, inputs = layer().to("cuda"), torch.randn(4, 3, device="cuda", requires_grad=True)
    expected = results(module, inputs.detach())
    captured = torch.cuda.make_graphed_callables(module, (inputs,))
    assert_same([t.cpu() for t in results(captured, inputs.detach())], [t.cpu() for t in expected], 1e-6)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
def test_an_ordinary_qnode_runs_on_the_cpu(device):
    torch.manual_seed(4)
    head = DressedQuantumNet(7, 3, 3, 2, q_delta=1.0, simulator="qnode", device=device)
    features = torch.randn(5, 7)
    here = results(head, features)
    assert_same(results(head.to("cuda"), features.cuda()), here, 1e-5)
    assert head(features.cuda()[:0]).shape == (0, 3)


def test_a_layer_that_runs_as_a_qnode_runs_there_too():
    @qml.qnode(qml.device("default.qubit"))
    def circuit(inputs, weights):
        qml.RY(inputs[..., 0], wires=0)
        qml.RX(weights[0], wires=1)
        qml.measure(0)
        qml.CNOT(wires=[0, 1])
        return qml.expval(qml.Z(1))

    module, inputs = TorchLayer(circuit, {"weights": (1,)}), torch.randn(3, 1)
    with pytest.warns(RuntimeWarning, match="runs as an ordinary QNode"):
        here = results(module, inputs)
    assert_same(results(module.to("cuda"), inputs.cuda()), here, 1e-5)


@pytest.mark.parametrize("n_qubits", [3, 6])
def test_stacked_heads(n_qubits):
    torch.manual_seed(2)
    heads = [DressedQuantumNet(7, 3, n_qubits, 2, q_delta=1.0) for _ in range(3)]
    features, labels = torch.randn(5, 7), torch.arange(5).expand(3, -1) % 3
    stacked = stack(heads)
    stacked.backward_cross_entropy(features, labels)
    here = [p.grad.clone() for p in stacked.parameters()]
    stacked.to("cuda").zero_grad()
    stacked.backward_cross_entropy(features.cuda(), labels.cuda())
    assert_same([p.grad for p in stacked.parameters()], here, 1e-5)


@pytest.mark.parametrize("kind", ["classical", "mlp", "linear"])
def test_other_heads(kind):
    torch.manual_seed(3)
    head = new_head(HeadConfig(head=kind), 7, 3)
    features = torch.randn(5, 7)
    here = results(head, features)
    assert_same(results(head.to("cuda"), features.cuda()), here, 1e-5)
