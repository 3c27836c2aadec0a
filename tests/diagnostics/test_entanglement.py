import numpy as np
import pennylane as qml
import pytest

from pipeline.diagnostics.entanglement import meyer_wallach


def random_states(count, n_wires, seed=0):
    random = np.random.default_rng(seed)
    states = random.normal(size=(count, 2**n_wires)) + 1j * random.normal(size=(count, 2**n_wires))
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def test_a_product_state_has_none():
    a, b, c = (random_states(6, 1, seed) for seed in range(3))
    product = np.einsum("si,sj,sk->sijk", a, b, c).reshape(6, 8)
    np.testing.assert_allclose(meyer_wallach(product), 0, atol=1e-12)


@pytest.mark.parametrize("n_wires", [2, 3, 5])
def test_bell_and_ghz_states_have_all(n_wires):
    ghz = np.zeros((1, 2**n_wires))
    ghz[0, [0, -1]] = 1 / np.sqrt(2)
    np.testing.assert_allclose(meyer_wallach(ghz), 1, atol=1e-12)


def test_a_w_state_has_what_its_closed_form_says():
    w = np.zeros((1, 8))
    w[0, [1, 2, 4]] = 1 / np.sqrt(3)
    # Every wire alone is diag(2/3, 1/3): 2 (1 - 5/9).
    np.testing.assert_allclose(meyer_wallach(w), 8 / 9, atol=1e-12)


def test_haar_random_states_have_their_known_mean():
    # 2 (1 - tr ρ²), whose mean over Haar is (2ⁿ - 2) / (2ⁿ + 1) (Scott, quant-ph/0310137).
    found = meyer_wallach(random_states(4000, 3))
    assert found.mean() == pytest.approx(6 / 9, abs=4 * found.std() / np.sqrt(4000))


def test_pennylane_finds_the_same_purities():
    states = random_states(5, 4)
    purities = np.array([[qml.math.purity(qml.math.dm_from_state_vector(s), [w]) for w in range(4)] for s in states])
    np.testing.assert_allclose(meyer_wallach(states), 2 * (1 - purities.mean(axis=1)), atol=1e-12)
