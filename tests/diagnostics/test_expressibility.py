import math

import numpy as np
import pytest

from pipeline.diagnostics.expressibility import BINS, expressibility, log_haar_shares


def haar_fidelities(random, pairs, n_wires):
    """By inversion: P(fidelity > F) = (1 - F)^(N - 1)."""
    return 1 - random.uniform(size=pairs) ** (1 / (2**n_wires - 1))


@pytest.mark.parametrize("n_wires", [1, 2, 4])
def test_a_circuit_that_does_nothing_has_its_closed_form(n_wires):
    found = expressibility(np.ones(500), n_wires)
    assert found.divergence.value == pytest.approx((2**n_wires - 1) * math.log(BINS))
    assert found.divergence.error == pytest.approx(0, abs=1e-9)


def test_rounding_above_1_is_still_1():
    assert expressibility(np.full(100, 1 + 1e-12), 1).histogram[-1] == 1


def test_the_shares_are_those_of_random_states():
    random = np.random.default_rng(0)
    states = random.normal(size=(2, 40_000, 4)) + 1j * random.normal(size=(2, 40_000, 4))
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    fidelities = np.abs((states[0].conj() * states[1]).sum(axis=1)) ** 2
    counts, _ = np.histogram(fidelities, bins=BINS, range=(0, 1))
    expected = 40_000 * np.exp(log_haar_shares(2))
    large = expected > 5
    deviations = (counts - expected)[large] / np.sqrt(expected[large])
    assert np.abs(deviations).max() < 4.5
    assert np.exp(log_haar_shares(2)).sum() == pytest.approx(1)


def test_shares_of_many_wires_keep_their_logarithms():
    logs = log_haar_shares(8)
    assert np.isfinite(logs).all()
    assert logs[-1] == pytest.approx(-255 * math.log(BINS))


@pytest.mark.parametrize("n_wires", [1, 4])
def test_the_floor_is_the_mean_of_haar_random_states_and_the_error_their_spread(n_wires):
    random = np.random.default_rng(1)
    found = [expressibility(haar_fidelities(random, 400, n_wires), n_wires) for _ in range(200)]
    divergences = np.array([each.divergence.value for each in found])
    error = divergences.std() / math.sqrt(len(found))
    assert divergences.mean() == pytest.approx(found[0].floor, abs=4 * error)
    assert np.mean([each.divergence.error for each in found]) == pytest.approx(divergences.std(), rel=1)


def test_the_error_is_the_spread_of_a_narrower_distribution():
    random = np.random.default_rng(2)
    found = [expressibility(random.beta(2, 3, size=500), 3) for _ in range(200)]
    divergences = np.array([each.divergence.value for each in found])
    assert np.mean([each.divergence.error for each in found]) == pytest.approx(divergences.std(), rel=0.15)
