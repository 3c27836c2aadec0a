import numpy as np
import pennylane as qml
import pytest
from diagnosed import subject_of

from features.util.flags import FlagError
from pipeline.diagnostics.sampled import Sampled, generator
from pipeline.diagnostics.subject import NotDefinedError, scales, subject_named
from pipeline.quantum.circuits import CIRCUITS


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_states_are_those_of_pennylane(circuit):
    subject = subject_named(circuit, 3, 2, "chain")
    random = generator(0)
    inputs, weights = subject.draw_inputs(random, 3), subject.draw_weights(random, 3)
    found, expected = subject.states(inputs, weights), subject._pennylane_states(inputs, weights)
    # A phase of all amplitudes is none that anything measures.
    overlaps = np.abs((found.conj() * expected).sum(axis=1))
    np.testing.assert_allclose(overlaps, 1, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-10)


def measured(inputs, weights):
    qml.RY(inputs[0], wires=0)
    qml.RX(weights[0], wires=0)
    if inputs[0] > 5:
        qml.Hadamard(wires=0)
    qml.CNOT(wires=[0, 1])
    return qml.expval(qml.Z(0))


def noisy(inputs, weights):
    qml.RY(inputs[0] + weights[0], wires=0)
    qml.DepolarizingChannel(0.1, wires=0)
    return qml.expval(qml.Z(0))


@pytest.mark.filterwarnings("ignore:.*runs as an ordinary QNode")
def test_a_circuit_that_only_runs_as_a_qnode_gets_its_states_from_pennylane(monkeypatch):
    subject = subject_of(measured, 2, 1)
    assert subject.compiled.simulator == "qnode"
    states = subject.states(np.array([[0.3, 0]]), np.array([[0.0]]))
    np.testing.assert_allclose(states[0], [np.cos(0.15), 0, 0, np.sin(0.15)], atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_a_mixed_state_is_not_defined():
    with pytest.raises(NotDefinedError, match="it leaves no pure state"):
        subject_of(noisy, 1, 1)._pennylane_states(np.array([[0.3]]), np.array([[0.0]]))


def test_inputs_are_angles_amplitudes_or_known_rows():
    random = generator(0)
    angles = subject_named("iqp", 3, 1, "chain").draw_inputs(random, 500)
    assert angles.shape == (500, 3)
    assert 1.5 < np.abs(angles).max() <= np.pi / 2
    assert np.abs(subject_named("amplitude", 3, 1, "chain").draw_inputs(random, 500)).max() > 2
    known = np.arange(10.0)[:, None]
    subject = subject_of(noisy, 1, 1, known_inputs=known)
    assert sorted(subject.draw_inputs(random, 10)[:, 0]) == sorted(known[:, 0])
    assert set(subject.draw_inputs(random, 30)[:, 0]) <= set(known[:, 0])


def test_heads_go_through_in_parts_with_the_same_values(monkeypatch):
    subject = subject_named("mari", 2, 2, "chain")
    random = generator(0)
    inputs, weights = subject.draw_inputs(random, 5), subject.draw_weights(random, 7)
    (whole,) = subject.values(inputs, weights)
    monkeypatch.setattr("pipeline.diagnostics.subject.CHUNK", 60)
    parts = list(subject.values(inputs, weights))
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(parts), whole)


def test_a_file_says_whether_its_circuit_scales(tmp_path):
    file = tmp_path / "mine.py"
    function = "\ndef mine(inputs, weights):\n    raise SystemError\n"
    file.write_text("weight_shapes = {'weights': (2, 3)}" + function)
    assert scales(f"{file}:mine", 4, 2) == (False, False)
    file.write_text("weight_shapes = lambda n_qubits, depth: {'weights': (depth,)}" + function)
    assert scales(f"{file}:mine", 4, 2) == (False, True)
    assert scales("mari", 4, 2) == (True, True)


def test_too_large_a_circuit_is_refused():
    with pytest.raises(FlagError, match="--qubits is 60"):
        subject_named("mari", 60, 1, "chain")


def test_a_mean_has_the_error_of_its_draws():
    found = Sampled.mean(np.array([1.0, 2.0, 3.0, 6.0]))
    assert (found.value, found.error) == (3, pytest.approx(np.sqrt(14 / 3 / 4)))
