"""The picture of a head on a device: accuracy, and agreement with the exact predictions, over noise or shots.

In: :class:`pipeline.devices.results.DeviceResults`. Out: a figure, and what it shows in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from pipeline.devices.noise import NAMES, Noise
from pipeline.devices.results import DeviceResults, Level
from pipeline.util.drawing import MUTED, SERIES


def device_curves(results: DeviceResults) -> tuple[Figure, str]:
    """Over the noise, a line for each number of shots; over the shots where there is one level of noise only.

    Intervals are Wilson's at 95 %, for other images of the kind. All levels see the same images, so that two of them
    may differ more clearly than their intervals suggest.
    """
    levels = results.levels
    over_shots = len({level.noise_words for level in levels}) == 1
    places, ticks, label = _shots_axis(levels) if over_shots else _noise_axis(levels)
    lines = [f"noise {level.noise_words}" if over_shots else _shots(level) for level in levels]
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    for axis, quantity in zip(axes, (_accuracy, _agreement), strict=True):
        for index, line in enumerate(dict.fromkeys(lines)):
            points = sorted(
                (place, *quantity(level))
                for place, own, level in zip(places, lines, levels, strict=True)
                if own == line
            )
            x, y, low, high = zip(*points, strict=True)
            reach = [[b - a for a, b in zip(low, y, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
            colour, marker = SERIES[index % len(SERIES)]
            axis.errorbar(x, y, yerr=reach, capsize=3, alpha=0.85, label=line, color=colour, marker=marker)
        axis.set_xlabel(label)
        if ticks:
            axis.set_xticks(range(len(ticks)), ticks, rotation=20 if max(map(len, ticks)) > 8 else 0)
    axes[0].axhline(results.exact.accuracy, color=MUTED, linestyle=":", label="exact, without noise")
    axes[0].set_ylabel("accuracy")
    axes[1].set_ylabel("predictions equal to the exact ones")
    axes[0].legend()
    return figure, _words(results)


def _shots_axis(levels: Sequence[Level]) -> tuple[list[float], list[str], str]:
    """Side by side, the exact values last."""
    ordered = sorted({level.shots or float("inf") for level in levels})
    ticks = ["exact" if shots == float("inf") else str(shots) for shots in ordered]
    return [ordered.index(level.shots or float("inf")) for level in levels], ticks, "shots an image"


def _noise_axis(levels: Sequence[Level]) -> tuple[list[float], list[str], str]:
    """To scale where the levels differ in one strength only, otherwise side by side."""
    varied = [name for name in NAMES if len({level.noise.get(name, 0.0) for level in levels}) > 1]
    if len(varied) == 1:
        beside = {name: value for name, value in levels[0].noise.items() if name not in varied}
        label = f"{varied[0]}, probability" + (f", beside {Noise(tuple(beside.items()))}" if beside else "")
        return [level.noise.get(varied[0], 0.0) for level in levels], [], label
    ticks = list(dict.fromkeys(level.noise_words for level in levels))
    return [ticks.index(level.noise_words) for level in levels], ticks, "noise"


def _accuracy(level: Level) -> tuple[float, float, float]:
    low, high = level.wilson95
    return level.accuracy, low, high


def _agreement(level: Level) -> tuple[float, float, float]:
    low, high = level.agreement.wilson95
    return level.agreement.same / level.agreement.total, low, high


def _words(results: DeviceResults) -> str:
    levels = sorted(results.levels, key=lambda level: level.accuracy)
    ends = levels if len(levels) == 1 else [levels[0], levels[-1]]
    accuracies = " up to ".join(
        f"{level.accuracy:.3f} (95 % interval {level.wilson95[0]:.3f} to {level.wilson95[1]:.3f}) with noise "
        f"{level.noise_words} and {_shots(level)}"
        for level in ends
    )
    return (
        f"Accuracy of the head on {results.device} by noise and shots: {accuracies}; "
        f"{results.exact.accuracy:.3f} exactly and without noise."
    )


def _shots(level: Level) -> str:
    return f"{level.shots} shots" if level.shots else "exact values"
