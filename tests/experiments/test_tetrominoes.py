import numpy as np
import pennylane as qml
from scipy.ndimage import label

from pipeline.experiments.paper.states.tetrominoes import CLASSES, N_QUBITS, noisy_states, templates


def test_templates_are_seven_different_tetrominoes():
    states = templates()
    assert states.shape == (7, 16)
    assert np.allclose(np.linalg.norm(states, axis=1), 1)
    pictures = states.reshape(7, 4, 4) > 0
    assert (pictures.sum(axis=(1, 2)) == 4).all()
    assert all(label(picture)[1] == 1 for picture in pictures), "four pixels that hang together"
    assert len({picture.tobytes() for picture in pictures}) == 7


def test_without_noise_states_are_the_templates_in_turns():
    states, labels = noisy_states(3, 0.0, np.random.default_rng(0))
    assert np.array_equal(labels, list(range(7)) * 3)
    assert np.array_equal(states, np.tile(templates(), (3, 1)))


def test_noise_is_one_rotation_of_every_qubit():
    states, labels = noisy_states(2, 0.6, np.random.default_rng(5))
    angles = np.random.default_rng(5).normal(0, 0.6, (14, N_QUBITS))

    @qml.qnode(qml.device("default.qubit", wires=N_QUBITS))
    def turned(template, of_state):
        qml.StatePrep(template, wires=range(N_QUBITS))
        for wire in range(N_QUBITS):
            qml.RY(of_state[wire], wires=wire)
        return qml.state()

    theirs = [turned(templates()[of_class], of_state) for of_class, of_state in zip(labels, angles, strict=True)]
    assert np.allclose(states, theirs, atol=1e-6)
    assert len(CLASSES) == len(set(labels.tolist()))
