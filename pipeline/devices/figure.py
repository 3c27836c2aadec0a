"""The picture of a head on a device: accuracy, and agreement with the exact predictions, over noise or shots.

In: the record of a :class:`pipeline.devices.levels.DeviceEvaluation`. Out: a figure, and what it shows in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from pipeline.devices.noise import NAMES, Noise
from pipeline.util.drawing import MUTED, SERIES

Row = Mapping[str, Any]


def device_curves(record: Mapping[str, Any]) -> tuple[Figure, str]:
    """Over the noise, a line for each number of shots; over the shots where there is one level of noise only.

    Intervals are Wilson's at 95 %, for other images of the kind. All levels see the same images, so that two of them
    may differ more clearly than their intervals suggest.
    """
    levels = record["levels"]
    over_shots = len({_noise(row) for row in levels}) == 1
    places, ticks, label = _shots_axis(levels) if over_shots else _noise_axis(levels)
    lines = [f"noise {_noise(row)}" if over_shots else _shots(row) for row in levels]
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    for axis, quantity in zip(axes, (_accuracy, _agreement), strict=True):
        for index, line in enumerate(dict.fromkeys(lines)):
            points = sorted(
                (place, *quantity(row)) for place, own, row in zip(places, lines, levels, strict=True) if own == line
            )
            x, y, low, high = zip(*points, strict=True)
            reach = [[b - a for a, b in zip(low, y, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
            colour, marker = SERIES[index % len(SERIES)]
            axis.errorbar(x, y, yerr=reach, capsize=3, alpha=0.85, label=line, color=colour, marker=marker)
        axis.set_xlabel(label)
        if ticks:
            axis.set_xticks(range(len(ticks)), ticks, rotation=20 if max(map(len, ticks)) > 8 else 0)
    axes[0].axhline(record["exact"]["accuracy"], color=MUTED, linestyle=":", label="exact, without noise")
    axes[0].set_ylabel("accuracy")
    axes[1].set_ylabel("predictions equal to the exact ones")
    axes[0].legend()
    return figure, _words(record)


def _shots_axis(levels: Sequence[Row]) -> tuple[list[float], list[str], str]:
    """Side by side, the exact values last."""
    ordered = sorted({row["shots"] or float("inf") for row in levels})
    ticks = ["exact" if shots == float("inf") else str(shots) for shots in ordered]
    return [ordered.index(row["shots"] or float("inf")) for row in levels], ticks, "shots an image"


def _noise_axis(levels: Sequence[Row]) -> tuple[list[float], list[str], str]:
    """To scale where the levels differ in one strength only, otherwise side by side."""
    varied = [name for name in NAMES if len({row["noise"].get(name, 0.0) for row in levels}) > 1]
    if len(varied) == 1:
        beside = {name: value for name, value in levels[0]["noise"].items() if name not in varied}
        label = f"{varied[0]}, probability" + (f", beside {Noise(tuple(beside.items()))}" if beside else "")
        return [row["noise"].get(varied[0], 0.0) for row in levels], [], label
    ticks = list(dict.fromkeys(map(_noise, levels)))
    return [ticks.index(_noise(row)) for row in levels], ticks, "noise"


def _accuracy(row: Row) -> tuple[float, float, float]:
    return row["accuracy"], *row["wilson95"]


def _agreement(row: Row) -> tuple[float, float, float]:
    agreement = row["agreement"]
    return agreement["same"] / agreement["total"], *agreement["wilson95"]


def _words(record: Mapping[str, Any]) -> str:
    levels = sorted(record["levels"], key=lambda row: row["accuracy"])
    ends = levels if len(levels) == 1 else [levels[0], levels[-1]]
    accuracies = " up to ".join(
        f"{row['accuracy']:.3f} (95 % interval {row['wilson95'][0]:.3f} to {row['wilson95'][1]:.3f}) with noise "
        f"{_noise(row)} and {_shots(row)}"
        for row in ends
    )
    return (
        f"Accuracy of the head on {record['device']} by noise and shots: {accuracies}; "
        f"{record['exact']['accuracy']:.3f} exactly and without noise."
    )


def _noise(row: Row) -> str:
    return str(Noise(tuple(row["noise"].items())))


def _shots(row: Row) -> str:
    return f"{row['shots']} shots" if row["shots"] else "exact values"
