import numpy as np
import pennylane as qml
import pytest
from diagnosed import subject_of

from pipeline.diagnostics.fourier import LARGEST, axes, coefficients, correlations, fourier, half, spectrum, unit
from pipeline.diagnostics.sampled import generator
from pipeline.diagnostics.subject import NotDefinedError, subject_named


def one_wire(inputs, weights):
    qml.RY(inputs[..., 0], wires=0)
    qml.RY(weights[0], wires=0)
    return qml.expval(qml.Z(0))


def test_of_a_single_wire_they_are_those_of_a_cosine():
    # f = cos(x + θ): c_1 = exp(iθ) / 2, c_0 = 0.
    subject = subject_of(one_wire, 1, 1)
    weights = np.array([[0.7], [-2.0]])
    found = coefficients(subject, weights, axes(*spectrum(subject)))
    np.testing.assert_allclose(
        found, np.stack([[0, np.exp(1j * w) / 2, np.exp(-1j * w) / 2] for w in (0.7, -2.0)]), atol=1e-12
    )
    series = fourier(subject, 50, 0)
    assert series.frequencies == [[0], [1]]
    np.testing.assert_allclose([series.mean, series.spread], [[0, 0.5], [0, 0]], atol=1e-12)
    assert (series.reached, series.n_reached, series.fcc) == ([False, True], 1, None)


def two_units(inputs, weights):
    qml.RX(2 * inputs[..., 0], wires=0)
    qml.CRY(inputs[..., 1], wires=[0, 1])
    qml.RY(weights[0] + 3 * inputs[..., 0], wires=1)
    return qml.expval(qml.Z(1))


def test_frequencies_and_units_follow_from_the_angles():
    units, degrees = spectrum(subject_of(two_units, 2, 1))
    # 2 + 3 in the first input; a controlled rotation is two of half the angle.
    np.testing.assert_allclose(units, [1, 0.5])
    assert degrees == [5, 2]


@pytest.mark.parametrize("circuit", ["mari", "strongly-entangling", "simplified-two-design", "reuploading"])
def test_coefficients_are_those_of_pennylane(circuit):
    subject = subject_named(circuit, 2, 2, "chain")
    units, degrees = spectrum(subject)
    weights = subject.draw_weights(generator(1), 1)
    found = coefficients(subject, weights, axes(units, degrees))[0]
    node = qml.QNode(subject.circuit, qml.device("default.qubit", wires=2))

    def mean(inputs):
        return np.mean(node(np.asarray(inputs), weights[0]))

    expected = qml.fourier.coefficients(mean, 2, degrees[0])
    np.testing.assert_allclose(found, expected.reshape(-1), atol=1e-10)


def test_the_allowed_frequencies_are_those_of_pennylane():
    subject = subject_named("reuploading", 2, 3, "chain")
    node = qml.QNode(subject.circuit, qml.device("default.qubit", wires=2), interface="autograd")
    x, w = qml.numpy.zeros(2), qml.numpy.ones(subject.n_weights)
    known = qml.fourier.qnode_spectrum(node, encoding_args={"inputs": [(0,), (1,)]})(x, w)
    _, degrees = spectrum(subject)
    assert [max(known["inputs"][(wire,)]) for wire in range(2)] == degrees


def test_inputs_are_equal_where_there_are_too_many():
    subject = subject_named("reuploading", 3, 5, "chain")
    units, degrees = spectrum(subject)
    assert np.prod([2 * d + 1 for d in degrees]) > LARGEST
    found = axes(units, degrees)
    assert found.degrees == (15,)
    weights = subject.draw_weights(generator(2), 3)
    series = coefficients(subject, weights, found)
    # The series is f itself, at any point.
    at = 0.83
    frequencies = np.fft.fftfreq(31, 1 / 31)
    (values,) = subject.values(np.full((1, 3), at), weights)
    np.testing.assert_allclose((series @ np.exp(1j * frequencies * at)).real, values[:, 0].mean(axis=1), atol=1e-12)
    assert not fourier(subject, 20, 0).resolved


def test_one_coefficient_of_each_conjugate_pair_is_kept():
    kept = half((1, 2))
    assert len(kept) == (3 * 5 + 1) // 2
    assert kept[0] == 0


def test_correlations_are_pearsons_of_real_and_imaginary_parts():
    random = np.random.default_rng(0)
    sampled = random.normal(size=(300, 3)) + 1j * random.normal(size=(300, 3))
    sampled[:, 1] = sampled[:, 0] * 2 + 0.5 * sampled[:, 1]
    found = correlations(sampled, np.array([True, True, False]))
    parts = np.concatenate([sampled.real, sampled.imag])
    assert found[0, 1] == pytest.approx(np.corrcoef(parts[:, 0], parts[:, 1])[0, 1])
    assert not found[2].any()


def test_without_correlation_the_fcc_is_its_floor():
    random = np.random.default_rng(0)
    sampled = random.normal(size=(400, 40)) + 1j * random.normal(size=(400, 40))
    found = np.abs(correlations(sampled, np.ones(40, dtype=bool)))
    assert found[np.triu_indices(40, k=1)].mean() == pytest.approx(np.sqrt(1 / (np.pi * 400)), rel=0.05)


def shared_weight(inputs, weights):
    for wire in range(2):
        qml.RY(inputs[..., wire], wires=wire)
        qml.RY(weights[0], wires=wire)
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]


def test_a_weight_that_two_wires_share_correlates_their_coefficients():
    # f = (cos(x + θ) + cos(y + θ)) / 2: both coefficients are exp(iθ) / 4.
    found = fourier(subject_of(shared_weight, 2, 1), 100, 0)
    assert found.n_reached == 2
    assert found.fcc == pytest.approx(1)


def product(inputs, weights):
    qml.RY(inputs[..., 0] * weights[0], wires=0)
    return qml.expval(qml.Z(0))


def curved(inputs, weights):
    qml.RY(inputs[..., 0].arctan() + weights[0], wires=0)
    return qml.expval(qml.Z(0))


def amplitudes(inputs, weights):
    qml.AmplitudeEmbedding(inputs, wires=[0], normalize=True)
    qml.RY(weights[0], wires=0)
    return qml.expval(qml.Z(0))


@pytest.mark.parametrize(
    ("function", "n_inputs", "said"),
    [(product, 1, "a product with an input"), (curved, 1, "no polynomials"), (amplitudes, 2, "amplitudes, not angles")],
)
def test_what_is_no_series_of_fixed_frequencies_is_refused_with_the_reason(function, n_inputs, said):
    with pytest.raises(NotDefinedError, match=said):
        fourier(subject_of(function, n_inputs, 1), 10, 0)


def test_slopes_without_a_common_measure_have_no_period():
    assert unit(np.array([np.pi, 1.5 * np.pi])) == pytest.approx(np.pi / 2)
    with pytest.raises(NotDefinedError, match="no common measure"):
        unit(np.array([1, np.pi]))
