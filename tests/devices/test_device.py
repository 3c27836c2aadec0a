import math

import numpy as np
import pennylane as qml
import pytest
import torch
from scipy import stats

from features.util.errors import InputError
from pipeline.devices import device
from pipeline.devices.device import DeviceCircuit, open_device, sample_bytes
from pipeline.devices.levels import DeviceEvaluation
from pipeline.devices.noise import Noise
from pipeline.heads.dressed import DressedQuantumNet

# qiskit-ibm-runtime deprecates a part of itself that it still loads.
qiskit = pytest.mark.filterwarnings("ignore:.*IBMFractionalTranslationPlugin is deprecated:DeprecationWarning")


@pytest.fixture
def head():
    torch.manual_seed(0)
    return DressedQuantumNet(8, 2, n_qubits=3, depth=3, q_delta=1.0)


def circuit_on(head, name, noise="none", shots=None, seed=0, **options):
    opened, _ = open_device(name, head.circuit.n_qubits, options, seed)
    return DeviceCircuit(head, opened, Noise.parse(noise), shots)


def angles(samples, wires=3):
    return np.random.default_rng(5).uniform(-2, 2, (samples, wires))


def exactly(head, samples):
    return head.expectation_values(torch.from_numpy(samples)).detach().numpy()


@pytest.mark.parametrize("name", ["default.qubit", "default.mixed", "lightning.qubit", "reference.qubit"])
def test_without_noise_and_shots_every_device_is_exact(head, name):
    samples = angles(6)
    np.testing.assert_allclose(circuit_on(head, name)(samples), exactly(head, samples), atol=1e-6)


def test_one_sample_and_one_wire_keep_their_shape():
    torch.manual_seed(0)
    head = DressedQuantumNet(8, 2, n_qubits=1, depth=1)
    for name in ("default.qubit", "default.mixed", "lightning.qubit"):
        for samples, shots in [(1, 10), (4, 10), (1, None), (4, None)]:
            assert circuit_on(head, name, shots=shots)(angles(samples, 1)).shape == (samples, 1)
    np.testing.assert_allclose(circuit_on(head, "default.mixed")(angles(4, 1)), exactly(head, angles(4, 1)), atol=1e-6)


@pytest.mark.parametrize("name", ["default.qubit", "default.mixed", "lightning.qubit"])
@pytest.mark.parametrize("shots", [100, 10_000])
def test_shots_scatter_around_the_exact_values_as_binomials_do(head, name, shots):
    # The wires of a sample are measured together, so only one of them is independent of everything else.
    samples = angles(100)
    exact = exactly(head, samples)[:, 0]
    found = circuit_on(head, name, shots=shots)(samples)[:, 0]
    squares = (found - exact) ** 2 * shots / (1 - exact**2)
    low, high = stats.chi2.interval(0.999, len(samples))
    assert low < squares.sum() < high


def test_shots_scatter_around_the_noisy_values(head):
    samples = angles(100)
    noisy = circuit_on(head, "default.mixed", "depolarizing=0.05,readout=0.1")(samples)[:, 0]
    found = circuit_on(head, "default.mixed", "depolarizing=0.05,readout=0.1", 1000)(samples)[:, 0]
    low, high = stats.chi2.interval(0.999, len(samples))
    assert low < ((found - noisy) ** 2 * 1000 / (1 - noisy**2)).sum() < high


def test_the_same_seed_draws_the_same_and_another_does_not(head):
    first, again, other = (circuit_on(head, "default.mixed", shots=50, seed=seed)(angles(5)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_seed_is_given_to_devices_that_take_one():
    assert open_device("default.mixed", 2, {}, 7)[1] == 7
    assert open_device("default.mixed", 2, {"seed": 8}, 7)[1] == 8
    assert open_device("null.qubit", 2, {}, 7)[1] is None


# What a device can't do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "noise", "options", "message"),
    [
        ("default.mxed", "none", {}, r"--q-device is 'default.mxed'; installed are .*\(did you mean default.mixed\?\)"),
        ("ionq.qpu", "none", {}, r"installed are .*ionq.qpu would come with: pip install pennylane-ionq"),
        ("nowhere", "none", {}, r"--q-device is 'nowhere'; installed are default.clifford, [\w., ]*reference.qubit$"),
        (
            "default.mixed",
            "none",
            {"wires": 2},
            "of 3 wires on --q-device default.mixed.* contain wires not found.*: .2.",
        ),
        (
            "default.mixed",
            "none",
            {"foo": 1},
            "--q-device-options foo=1: TypeError: .*'foo'; the options that it names: seed",
        ),
        (
            "default.qubit",
            "bit_flip=0.1",
            {},
            "fails: .*BitFlip.* not supported.*density matrices: --q-device default.mixed",
        ),
        ("lightning.qubit", "readout=0.1", {}, "fails: .*BitFlip.* not supported.*: --q-device default.mixed"),
        ("default.gaussian", "none", {}, "on --q-device default.gaussian, noise none, without shots fails: "),
    ],
)
def test_what_a_device_can_not_do_is_said_before_it_starts(head, name, noise, options, message):
    with pytest.raises(InputError, match=message):
        DeviceEvaluation(head, name, options=options, noise=[Noise(), Noise.parse(noise)])


def test_a_sample_that_does_not_fit_into_memory_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(device, "physical_memory", lambda: 2**30)
    torch.manual_seed(0)
    head = DressedQuantumNet(8, 2, n_qubits=14, depth=1)
    with pytest.raises(InputError, match=r"of 14 wires on --q-device default.mixed.* would take about 12 GiB for a"):
        circuit_on(head, "default.mixed")
    with pytest.raises(InputError, match="take fewer shots"):
        circuit_on(head, "default.qubit", shots=10**13)


def test_a_batch_is_bounded_by_memory_and_by_progress(head):
    assert circuit_on(head, "default.mixed").batch == device.LARGEST_BATCH
    assert circuit_on(head, "default.mixed", shots=10**8).batch == 1
    assert circuit_on(head, "lightning.qubit", shots=10**8).batch == device.LARGEST_BATCH
    assert sample_bytes("default.mixed", 10, None) == 16 * 4**10
    assert sample_bytes("default.qubit", 10, 1000) == 16 * 2**10 + 8 * 10 * 1000
    torch.manual_seed(0)
    eight = circuit_on(DressedQuantumNet(8, 2, n_qubits=8, depth=1), "default.mixed")
    assert eight.batch == device.BATCH_BYTES // (3 * 16 * 4**8) == 5


def test_samples_in_batches_are_those_in_one(head, monkeypatch):
    together = circuit_on(head, "default.mixed", "depolarizing=0.1")(angles(7))
    monkeypatch.setattr(device, "LARGEST_BATCH", 3)
    evaluation = DeviceEvaluation(head, "default.mixed", noise=[Noise.parse("depolarizing=0.1")])

    class Bar:
        done = 0

        def update(self, count):
            self.done += count

    bar = Bar()
    np.testing.assert_allclose(evaluation._measured(evaluation.levels[0], angles(7), bar), together, atol=1e-12)
    assert bar.done == 7


# A plugin: Qiskit's simulator, as its processors are named ------------------------------------------------------------


@pytest.fixture
def aer():
    pytest.importorskip("pennylane_qiskit", reason="needs the extra qiskit")


@qiskit
def test_qiskit_aer_agrees_within_its_shots(aer, head):
    samples, shots = angles(12), 4000
    exact = exactly(head, samples)
    found = circuit_on(head, "qiskit.aer", shots=shots, seed_simulator=3)(samples)
    assert found.shape == exact.shape
    assert (np.abs(found - exact) < 5 * np.sqrt((1 - exact**2) / shots) + 1e-9).all()
    assert math.isclose(np.abs(found - exact).mean(), np.sqrt(2 / np.pi * (1 - exact**2) / shots).mean(), rel_tol=0.5)


@qiskit
def test_qiskit_aer_without_shots_is_told_to_take_some(aer, head):
    with pytest.raises(InputError, match=r"without shots.* give it --shots"):
        DeviceEvaluation(head, "qiskit.aer")


@qiskit
def test_qiskit_aer_with_a_state_vector_is_exact(aer, head):
    samples = angles(3)
    found = circuit_on(head, "qiskit.aer", method="statevector")(samples)
    np.testing.assert_allclose(found, exactly(head, samples), atol=1e-6)


@qiskit
@pytest.mark.parametrize(
    ("name", "noise", "message"),
    [
        (
            "qiskit.aer",
            "bit_flip=0.1",
            "fails: KeyError: 'BitFlip'; channels of noise need a device of density matrices",
        ),
        ("qiskit.basicaer", "none", "is listed by its plugin but can't be loaded"),
        ("qiskit.remote", "none", "missing 1 required positional argument: 'backend'.* goes through pipeline.devices"),
    ],
)
def test_what_a_plugin_can_not_do_is_said_before_it_starts(aer, head, name, noise, message):
    with pytest.raises(InputError, match=message):
        DeviceEvaluation(head, name, noise=[Noise.parse(noise)], shots=[100])


def one_sample(inputs, weights):
    for wire in range(3):
        qml.RY(inputs[wire], wires=wire)
        qml.RX(weights[wire], wires=wire)
    qml.CNOT(wires=[0, 1])
    return [qml.expval(qml.Z(wire)) for wire in range(3)]


@pytest.mark.parametrize("name", ["default.qubit", "default.mixed", "lightning.qubit"])
def test_a_circuit_written_for_one_sample_runs_sample_by_sample(name):
    torch.manual_seed(0)
    head = DressedQuantumNet(8, 2, n_qubits=3, q_delta=1.0, circuit=one_sample, weight_shapes={"weights": (3,)})
    # As many samples as inputs, so that a row could be mistaken for a column.
    samples = angles(3)
    np.testing.assert_allclose(circuit_on(head, name)(samples), exactly(head, samples), atol=1e-6)
    assert circuit_on(head, name, shots=10)(samples).shape == (3, 3)
    if name == "default.mixed":
        noisy = circuit_on(head, name, "depolarizing=0.01")(samples)
        np.testing.assert_allclose(noisy, exactly(head, samples), atol=0.1)
        assert np.abs(noisy - exactly(head, samples)).max() > 1e-3
