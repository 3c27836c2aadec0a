import pytest
from matplotlib import pyplot as plt

from pipeline.devices.figure import device_curves
from pipeline.devices.noise import Noise
from pipeline.devices.results import Agreement, DeviceResults, Level
from pipeline.util.metrics import Accuracy


@pytest.fixture(autouse=True)
def no_window():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def results(*levels):
    """Results of (noise, shots, correct) of 100 images."""
    return DeviceResults(
        device="some.device",
        options={},
        noise_model="",
        exact=Accuracy(accuracy=0.95, correct=95, total=100, wilson95=[0.9, 0.97]),
        levels=[
            Level(
                accuracy=correct / 100,
                correct=correct,
                total=100,
                wilson95=[correct / 100 - 0.05, correct / 100 + 0.02],
                noise=dict(Noise.parse(noise).strengths),
                shots=shots,
                loss=0.5,
                agreement=Agreement(same=correct + 3, total=100, wilson95=[correct / 100, correct / 100 + 0.04]),
                mean_shift=0.1,
                seconds=1.0,
            )
            for noise, shots, correct in levels
        ],
        seed=None,
    )


def curve(axis, label):
    """The points of a line, and its intervals."""
    container = next(found for found in axis.containers if found.get_label() == label)
    line, _, (bars,) = container
    ends = [[round(float(y), 6) for _, y in segment] for segment in bars.get_segments()]
    return [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)], ends


def test_one_strength_is_drawn_to_scale_a_line_for_each_number_of_shots():
    levels = [("bit_flip=0.2,readout=0.1", None, 60), ("readout=0.1", None, 90), ("readout=0.1", 8, 80)]
    figure, words = device_curves(results(*levels))
    left, right = figure.axes
    assert left.get_xlabel() == "bit_flip, probability, beside readout=0.1"
    points, ends = curve(left, "exact values")
    assert points == [(0.0, 0.9), (0.2, 0.6)]
    assert ends == [[0.85, 0.92], [0.55, 0.62]]
    assert curve(left, "8 shots")[0] == [(0.0, 0.8)]
    assert curve(right, "exact values")[0] == [(0.0, 0.93), (0.2, 0.63)]
    assert words == (
        "Accuracy of the head on some.device by noise and shots: 0.600 (95 % interval 0.550 to 0.620) with noise "
        "bit_flip=0.2,readout=0.1 and exact values up to 0.900 (95 % interval 0.850 to 0.920) with noise readout=0.1 "
        "and exact values; 0.950 exactly and without noise."
    )


def test_several_strengths_stand_side_by_side():
    figure, _ = device_curves(results(("bit_flip=0.2", 8, 60), ("readout=0.1", 8, 90), ("none", 8, 95)))
    left = figure.axes[0]
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["bit_flip=0.2", "readout=0.1", "none"]
    assert curve(left, "8 shots")[0] == [(0.0, 0.6), (1.0, 0.9), (2.0, 0.95)]


def test_one_noise_is_drawn_over_the_shots_exact_values_last():
    figure, _ = device_curves(results(("none", None, 95), ("none", 1000, 93), ("none", 10, 70)))
    left = figure.axes[0]
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["10", "1000", "exact"]
    assert curve(left, "noise none")[0] == [(0.0, 0.7), (1.0, 0.93), (2.0, 0.95)]


def test_a_single_level_is_a_single_point():
    figure, words = device_curves(results(("none", 10, 70)))
    assert curve(figure.axes[0], "noise none")[0] == [(0.0, 0.7)]
    assert words.count("interval") == 1
