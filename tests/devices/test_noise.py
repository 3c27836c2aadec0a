import math

import numpy as np
import pytest
import torch

from pipeline.devices.device import DeviceCircuit, open_device
from pipeline.devices.noise import GATE_CHANNELS, NAMES, Noise
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.quantum.circuit import ENTANGLERS


def measured(head, angles, noise, device="default.mixed"):
    opened, _ = open_device(device, head.circuit.n_qubits, {}, seed=0)
    return DeviceCircuit(head, opened, Noise.parse(noise), None)(angles)


def new_head(n_qubits, depth, entangler="chain", seed=0):
    torch.manual_seed(seed)
    return DressedQuantumNet(8, 2, n_qubits=n_qubits, depth=depth, q_delta=1.0, entangler=entangler)


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strengths"),
    [
        ("none", ()),
        ("depolarizing=0.02,readout=0.01", (("depolarizing", 0.02), ("readout", 0.01))),
        ("readout=1,bit_flip=0", (("bit_flip", 0.0), ("readout", 1.0))),
    ],
)
def test_a_level_is_read_in_the_order_in_which_it_acts(text, strengths):
    noise = Noise.parse(text)
    assert noise.strengths == strengths
    assert Noise.parse(str(noise)) == noise


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "depolarising=0.1",
            "--noise depolarising=0.1 has 'depolarising'; there are depolarizing, amplitude_damping, phase_damping, "
            "bit_flip, phase_flip, readout, and none alone (did you mean depolarizing?)",
        ),
        ("readout", "--noise readout has 'readout'; write readout=0.02, for example"),
        ("readout=1.5", "--noise readout=1.5 has readout 1.5; it is a probability, from 0 to 1"),
        ("readout=nan", "--noise readout=nan has readout nan; it is a probability, from 0 to 1"),
        ("readout=0.1,readout=0.2", "--noise readout=0.1,readout=0.2 has readout twice; give each once"),
        ("readout=0.1,none", "has 'none'; there are"),
    ],
)
def test_what_is_not_understood_is_named(text, message):
    with pytest.raises(ValueError, match="--noise") as problem:
        Noise.parse(text)
    assert message in str(problem.value)


def test_strengths_of_zero_need_no_channels():
    assert Noise.parse("none").quiet
    assert Noise.parse("depolarizing=0,readout=0").quiet
    assert not Noise.parse("depolarizing=0,readout=0.1").quiet


# Closed forms ---------------------------------------------------------------------------------------------------------

# ⟨Z⟩ after H, noise, RY(x), noise, from the Bloch vectors' maps: Nielsen and Chuang, section 8.3.
CLOSED_FORMS = {
    "depolarizing": lambda p, x: -((1 - 4 * p / 3) ** 2) * np.sin(x),
    "amplitude_damping": lambda p, x: p + (1 - p) * (p * np.cos(x) - math.sqrt(1 - p) * np.sin(x)),
    "phase_damping": lambda p, x: -math.sqrt(1 - p) * np.sin(x),
    "bit_flip": lambda p, x: -(1 - 2 * p) * np.sin(x),
    "phase_flip": lambda p, x: -(1 - 2 * p) * np.sin(x),
    "readout": lambda p, x: -(1 - 2 * p) * np.sin(x),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.02, 0.3, 0.9])
def test_each_kind_does_to_two_gates_what_its_closed_form_says(name, strength):
    head = new_head(n_qubits=2, depth=0)
    angles = np.random.default_rng(0).uniform(-2, 2, (7, 2))
    np.testing.assert_allclose(
        measured(head, angles, f"{name}={strength}"), CLOSED_FORMS[name](strength, angles), atol=1e-12
    )


def test_readout_shrinks_every_expectation_value_whatever_the_circuit():
    head = new_head(n_qubits=3, depth=4)
    angles = np.random.default_rng(1).uniform(-2, 2, (5, 3))
    exact = head.expectation_values(torch.from_numpy(angles)).detach().numpy()
    np.testing.assert_allclose(measured(head, angles, "readout=0.15"), 0.7 * exact, atol=1e-6)


def test_full_depolarizing_leaves_nothing():
    head = new_head(n_qubits=3, depth=2)
    np.testing.assert_allclose(measured(head, np.ones((2, 3)), "depolarizing=0.75"), 0, atol=1e-12)


# The whole circuit, by density matrices in plain NumPy ----------------------------------------------------------------

ONE, X, Y, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
KRAUS = {
    "depolarizing": lambda p: [math.sqrt(1 - p) * ONE, *(math.sqrt(p / 3) * pauli for pauli in (X, Y, Z))],
    "amplitude_damping": lambda p: [np.diag([1, math.sqrt(1 - p)]), math.sqrt(p) * np.array([[0, 1], [0, 0]])],
    "phase_damping": lambda p: [np.diag([1, math.sqrt(1 - p)]), math.sqrt(p) * np.diag([0, 1])],
    "bit_flip": lambda p: [math.sqrt(1 - p) * ONE, math.sqrt(p) * X],
    "phase_flip": lambda p: [math.sqrt(1 - p) * ONE, math.sqrt(p) * Z],
}


def simulate(head, angles, strengths):
    """⟨Z⟩ of one sample: the density matrix, gate by gate and Kraus operator by Kraus operator, as full matrices."""
    n, circuit = head.circuit.n_qubits, head.circuit

    def on(wire, matrix):
        return np.kron(np.kron(np.eye(2**wire), matrix), np.eye(2 ** (n - wire - 1)))

    def rotation(angle):
        return np.array([[math.cos(angle / 2), -math.sin(angle / 2)], [math.sin(angle / 2), math.cos(angle / 2)]])

    def cnot(control, target):
        return on(control, np.diag([1, 0])) + on(control, np.diag([0, 1])) @ on(target, X)

    gates = [((wire,), on(wire, (X + Z) / math.sqrt(2))) for wire in range(n)]
    gates += [((wire,), on(wire, rotation(angles[wire]))) for wire in range(n)]
    pairs = [(wire, wire + 1) for first in (0, 1) for wire in range(first, n - 1, 2)]
    pairs = {"chain": pairs, "ring": [*pairs, (n - 1, 0)], "none": []}[circuit.entangler]
    for layer in head.q_params.detach().double().numpy().reshape(circuit.depth, n):
        gates += [(pair, cnot(*pair)) for pair in pairs]
        gates += [((wire,), on(wire, rotation(layer[wire]))) for wire in range(n)]
    state = np.zeros((2**n, 2**n), dtype=complex)
    state[0, 0] = 1
    for wires, gate in gates:
        state = gate @ state @ gate.conj().T
        for wire in wires:
            for name in GATE_CHANNELS:
                kraus = [on(wire, operator) for operator in KRAUS[name](strengths.get(name, 0.0))]
                state = sum(operator @ state @ operator.conj().T for operator in kraus)
    shrunk = 1 - 2 * strengths.get("readout", 0.0)
    return [shrunk * np.trace(on(wire, Z) @ state).real for wire in range(n)]


@pytest.mark.parametrize("entangler", ENTANGLERS)
@pytest.mark.parametrize(
    "noise",
    [
        "none",
        "depolarizing=0.02,readout=0.01",
        "depolarizing=0.03,amplitude_damping=0.1,phase_damping=0.05,bit_flip=0.04,phase_flip=0.2,readout=0.02",
    ],
)
def test_the_noisy_circuit_is_that_of_an_independent_simulation(noise, entangler):
    head = new_head(n_qubits=3, depth=3, entangler=entangler)
    angles = np.random.default_rng(2).uniform(-2, 2, (4, 3))
    expected = [simulate(head, sample, dict(Noise.parse(noise).strengths)) for sample in angles]
    np.testing.assert_allclose(measured(head, angles, noise), expected, atol=1e-12)
