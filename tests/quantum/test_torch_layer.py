"""``TorchLayer`` as a citizen of PyTorch: PennyLane's results, transforms, copies, devices, threads, processes."""

from __future__ import annotations

import copy
import io
import math
import multiprocessing
import pickle
import threading
import warnings

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint

from pipeline import TorchLayer

N_WIRES = 3
SHAPES = {"weights": (2, N_WIRES, 3), "scale": 1}


def reuploading(inputs, weights, scale):
    for layer in weights:
        for wire in range(N_WIRES):
            qml.RY(scale * inputs[..., wire], wires=wire)
            qml.Rot(*layer[wire], wires=wire)
        for wire in range(N_WIRES):
            qml.CNOT(wires=[wire, (wire + 1) % N_WIRES])
    return [qml.expval(qml.Z(wire)) for wire in range(N_WIRES)]


def module_qnode():
    return qml.QNode(reuploading, qml.device("default.qubit", wires=N_WIRES), interface="torch")


def layers(function=reuploading, shapes=SHAPES, device="default.qubit", n_wires=N_WIRES):
    """PennyLane's layer and ours, of float64, with the same weights."""
    qnode = qml.QNode(function, qml.device(device, wires=n_wires), interface="torch")
    torch.manual_seed(2)
    theirs, ours = qml.qnn.TorchLayer(qnode, shapes).double(), TorchLayer(qnode, shapes).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def gradients(layer, x, parameters=None):
    x = x.clone().requires_grad_()
    values = layer(x)
    upstream = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)
    return values.detach(), *torch.autograd.grad(values, (x, *(parameters or layer.parameters())), upstream)


def batch(n_samples=4, seed=3):
    return torch.randn(n_samples, N_WIRES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(N_WIRES,), (4, N_WIRES), (2, 3, N_WIRES)])
def test_values_and_gradients_are_pennylanes(shape):
    theirs, ours = layers()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for seen, expected in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10)
    assert ours.fallback_reason is None


def test_states_have_the_precision_that_the_qnodes_device_is_made_with():
    double, single = (
        TorchLayer(qml.QNode(reuploading, qml.device("lightning.qubit", wires=N_WIRES, c_dtype=c_dtype)), SHAPES)
        for c_dtype in (np.complex128, np.complex64)
    )
    single.load_state_dict(double.state_dict())
    x = batch()
    for seen, expected in zip(gradients(single.double(), x), gradients(double.double(), x), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)
        assert not torch.equal(seen, expected)
    assert repr(double).endswith("simulator=lightning)")
    assert repr(single).endswith("simulator=lightning in complex64)")


@pytest.mark.parametrize(
    "measure",
    [
        lambda: qml.expval(qml.Z(0)),
        lambda: qml.probs(wires=[1, 0]),
        lambda: [qml.probs(wires=0)],
        lambda: (qml.expval(qml.X(0)), qml.expval(qml.Y(1))),
    ],
)
def test_results_have_pennylanes_shapes(measure):
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(2))
        qml.BasicEntanglerLayers(weights, wires=range(2))
        return measure()

    theirs, ours = layers(circuit, {"weights": (1, 2)}, n_wires=2)
    x = batch()[:, :2]
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-10)


def test_inputs_may_have_another_name():
    _, plain = layers()
    expected = gradients(plain, batch())
    TorchLayer.set_input_argument("features")
    try:
        _, ours = layers(lambda weights, features, scale: reuploading(features, weights, scale))
        ours.load_state_dict(plain.state_dict())
        for seen, reference in zip(gradients(ours, batch()), expected, strict=True):
            torch.testing.assert_close(seen, reference, rtol=0, atol=1e-12)
    finally:
        TorchLayer.set_input_argument("inputs")
    assert ours.fallback_reason is None


def test_gradcheck_and_gradgradcheck():
    _, ours = layers()
    names = list(ours.state_dict())

    def call(x, *weights):
        return torch.func.functional_call(ours, dict(zip(names, weights, strict=True)), (x,))

    leaves = (batch(2).requires_grad_(), *(p.detach().clone().requires_grad_() for p in ours.parameters()))
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, (leaves[0], *leaves[1:]))


def test_per_sample_gradients_by_vmap_of_grad():
    _, ours = layers()
    x, parameters = batch(), {name: p.detach() for name, p in ours.named_parameters()}

    def loss(parameters, sample):
        return torch.func.functional_call(ours, parameters, (sample,)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for k, sample in enumerate(x):
        expected = torch.autograd.grad(ours(sample).square().sum(), list(ours.parameters()))
        for name, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][k], gradient, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_jacobians_by_jacrev_and_by_autograd_agree():
    _, ours = layers()
    x = batch(1)[0]
    by_rows = torch.autograd.functional.jacobian(ours, x)
    torch.testing.assert_close(torch.func.jacrev(ours)(x), by_rows, rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.func.jacfwd(ours)(x), by_rows, rtol=0, atol=1e-10)


def test_an_ensemble_by_vmap_over_weights():
    _, ours = layers()
    x = batch()
    many = {name: torch.stack([p.detach(), p.detach() + 0.1]) for name, p in ours.named_parameters()}
    found = torch.func.vmap(lambda parameters: torch.func.functional_call(ours, parameters, (x,)))(many)
    for k in range(2):
        one = {name: values[k] for name, values in many.items()}
        torch.testing.assert_close(found[k], torch.func.functional_call(ours, one, (x,)), rtol=0, atol=1e-10)


def test_the_first_call_may_be_under_a_transform_or_a_checkpoint():
    _, ours = layers()
    inside = torch.func.vmap(ours)(batch())
    torch.testing.assert_close(ours(batch()), inside, rtol=0, atol=1e-10)
    _, again = layers()
    checkpointed = gradients(lambda x: checkpoint(again, x, use_reentrant=False), batch(), again.parameters())
    for seen, expected in zip(checkpointed, gradients(ours, batch()), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10)


def test_weights_may_be_parametrised_pruned_and_replaced():
    _, ours = layers()
    x, half = batch(), copy.deepcopy(ours)
    parametrize.register_parametrization(half, "weights", nn.Threshold(math.pi, 0.5))
    pruned = prune.l1_unstructured(copy.deepcopy(ours), "weights", 0.5)
    replaced = copy.deepcopy(ours)
    replaced.qnode_weights = {"weights": torch.zeros_like(ours.weights)}
    for layer in (half, pruned, replaced):
        weights = {"weights": layer.weights, "scale": ours.scale}
        torch.testing.assert_close(layer(x), torch.func.functional_call(ours, weights, (x,)), rtol=0, atol=1e-12)
        assert not torch.equal(layer.weights, ours.weights)
    half(x).sum().backward()
    assert half.parametrizations.weights.original.grad.count_nonzero() == (half.weights != 0.5).sum()


def test_another_qnode_is_another_circuit():
    theirs, ours = layers()
    before = ours(batch())
    ours.qnode = theirs.qnode = layers(lambda inputs, weights, scale: reuploading(-inputs, weights, scale))[0].qnode
    assert not torch.allclose(ours(batch()), before)
    torch.testing.assert_close(ours(batch()), theirs(batch()), rtol=0, atol=1e-10)


def by_jit(layer, x):
    return torch.jit.trace(layer, x, check_trace=False)


def by_export(layer, x):
    return torch.export.export(layer, (x,), strict=False).module()


def by_make_fx(layer, x):
    return make_fx(lambda inputs: layer(inputs))(x)


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning", "ignore:Casting complex")
@pytest.mark.parametrize("record", [by_jit, by_make_fx, by_export])
def test_recorded_graphs_are_functions_of_the_inputs(record):
    theirs, ours = layers()
    graph = record(ours, batch())
    torch.testing.assert_close(graph(batch(seed=4)), theirs(batch(seed=4)), rtol=0, atol=1e-10)
    torch.testing.assert_close(ours(batch(seed=4)), theirs(batch(seed=4)), rtol=0, atol=1e-10)


def test_autocast_to_bfloat16_rounds_inputs_and_outputs_only():
    _, ours = layers()
    model = nn.Sequential(nn.Linear(N_WIRES, N_WIRES), ours.float())
    x = batch().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = model(x)
        assert values.dtype == torch.bfloat16
        hidden = model[0](x)
    values.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    torch.testing.assert_close(values, ours(hidden.float()).bfloat16())


def test_nan_goes_through_as_it_does_in_pennylane():
    theirs, ours = layers()
    x = batch()
    x[1, 0] = torch.nan
    for seen, expected in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10, equal_nan=True)
    assert ours(x).isnan().any(dim=1).tolist() == [False, True, False, False]


def test_an_empty_batch_has_no_rows_and_zero_gradients():
    _, ours = layers()
    values, *slopes = gradients(ours, batch(0))
    assert values.shape == (0, N_WIRES)
    assert all(not slope.any() for slope in slopes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_torch_compile_runs_it_between_its_graphs():
    _, ours = layers()
    model = nn.Sequential(nn.Linear(N_WIRES, N_WIRES), ours.float())
    x = batch().float()
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), expected)


def test_repr_says_circuit_weights_and_simulator():
    _, ours = layers()
    ours(batch())
    assert repr(ours) == "TorchLayer(reuploading, weights: (2, 3, 3), scale: (), simulator=lightning)"


def test_deepcopy_and_pickle_give_layers_of_their_own():
    ours = TorchLayer(module_qnode(), SHAPES)
    x = batch().float()
    expected = ours(x).detach()
    stream = io.BytesIO()
    torch.save(ours, stream)
    stream.seek(0)
    copies = copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), torch.load(stream, weights_only=False)
    for other in copies:
        torch.testing.assert_close(other(x), expected)
        with torch.no_grad():
            other.weights += 1
        torch.testing.assert_close(ours(x), expected)


def test_deepcopy_of_a_local_qnode():
    _, ours = layers(lambda inputs, weights, scale: reuploading(inputs, weights, scale))
    model = torch.nn.ModuleList([ours, ours])
    first, second = copy.deepcopy(model)
    assert first is second
    assert first.qnode is ours.qnode
    assert first.weights is not ours.weights
    torch.testing.assert_close(first(batch()), ours(batch()), rtol=0, atol=0)


def test_threads_share_a_layer():
    _, ours = layers()
    batches = [batch(seed=seed) for seed in range(6)]
    expected = [gradients(layers()[1], x) for x in batches]
    seen = [None] * len(batches)

    def work(k):
        for _ in range(5):
            seen[k] = gradients(ours, batches[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, reference in zip(seen, expected, strict=True):
        for a, b in zip(found, reference, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def _in_a_process(layer, x, connection):
    connection.send(layer(x).detach().numpy())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_run_a_layer(method):
    ours = TorchLayer(module_qnode(), SHAPES)
    x = batch().float()
    expected = ours(x).detach().numpy()
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=_in_a_process, args=(ours, x, there))
        process.start()
    assert here.poll(120)
    np.testing.assert_allclose(here.recv(), expected, atol=1e-6)
    process.join()


def test_transforms_that_change_no_values_run_fast():
    theirs, ours = layers()
    qnode = qml.transforms.broadcast_expand(qml.compile(ours.qnode))
    ours = TorchLayer(qnode, SHAPES).double()
    ours.load_state_dict(theirs.state_dict())
    for seen, expected in zip(gradients(ours, batch()), gradients(theirs, batch()), strict=True):
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-10)
    assert ours.fallback_reason is None
