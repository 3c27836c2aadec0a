"""Results of a head on a device: the record in ``report.json``, and a table for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.devices.noise import Noise
from pipeline.util.metrics import Accuracy


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many predictions are those of the exact circuit, of how many, and the 95 % interval of that share."""

    same: int
    total: int
    wilson95: list[float]


@dataclass(frozen=True, kw_only=True)
class Level(Accuracy):
    """The head at one level of noise and shots.

    Attributes:
        noise: Strengths by name; see :class:`pipeline.devices.noise.Noise`.
        shots: Measurements of each image's circuit; None for exact expectation values.
        loss: Mean cross-entropy.
        agreement: With the exact predictions.
        mean_shift: Mean distance of the circuit's outputs, ⟨Z⟩ of the paper's, from their exact values.
        seconds: Time that the device took.
    """

    noise: dict[str, float]
    shots: int | None
    loss: float
    agreement: Agreement
    mean_shift: float
    seconds: float

    @property
    def noise_words(self) -> str:
        """The noise as ``--noise`` takes it."""
        return str(Noise(tuple(self.noise.items())))


@dataclass(frozen=True, kw_only=True)
class DeviceResults:
    """The head at every level.

    Attributes:
        device: The device's name.
        options: Further arguments of the device, as text.
        noise_model: In words, which channels stand where in the circuit.
        exact: The head by exact expectation values, without noise.
        levels: The head at each level, in the order that was asked for.
        seed: Of the device's random draws; None if it takes none.
    """

    device: str
    options: dict[str, str]
    noise_model: str
    exact: Accuracy
    levels: list[Level]
    seed: int | None


def table(results: DeviceResults) -> list[str]:
    """A line a level, and a line on draws that can't be repeated."""
    width = max(len("noise"), *(len(level.noise_words) for level in results.levels))
    options = "".join(f" {name}={value}" for name, value in results.options.items())
    lines = [
        f"The last epoch's head on {results.device}{options}:",
        f"{'noise':{width}}  {'shots':>6}  accuracy    95 % interval    loss  as exact  mean |Δout|  seconds",
    ]
    for level in results.levels:
        interval = "{:6.3f} to {:.3f}".format(*level.wilson95)
        same = f"{level.agreement.same}/{level.agreement.total}"
        lines.append(
            f"{level.noise_words:{width}}  {level.shots or 'exact':>6}  {level.accuracy:8.4f}  {interval}  "
            f"{level.loss:6.4f}  {same:>8}  {level.mean_shift:11.1e}  {level.seconds:7.2f}"
        )
    if results.seed is None and any(level.shots for level in results.levels):
        lines.append(
            f"{results.device} takes no seed: its next draws are others, unless an option of its own fixes them"
        )
    return lines
