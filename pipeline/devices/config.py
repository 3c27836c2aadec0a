"""Flags of an evaluation on a PennyLane device, with shots or noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from features.util.flags import Flags, at_least
from pipeline.devices.noise import Noise


@dataclass(frozen=True, kw_only=True)
class DeviceConfig(Flags):
    """Where to measure a trained head beside the exact evaluation: a PennyLane device, shots, noise."""

    q_device: str | None = None
    """Also measure the head on this device, one of PennyLane's or a plugin's: `default.qubit`, `default.mixed`,
    `qiskit.aer`, … With --shots alone it is `default.qubit`, with --noise `default.mixed`."""
    q_device_options: tuple[str, ...] = ()
    """KEY=VALUE … of the device, as `qml.device` takes them. They are written into the report: no keys or passwords."""
    shots: tuple[Annotated[int, at_least(0)], ...] = ()
    """Measurements of each image's circuit, 0 for exact expectation values; each number gives a row of results."""
    noise: tuple[str, ...] = ()
    """Noise in the circuit, such as depolarizing=0.02,readout=0.01; each level gives a row of results, `none` one
    without noise. Probabilities of depolarizing, amplitude_damping, phase_damping, bit_flip and phase_flip follow every
    gate on every wire that it touches; readout flips each measured bit."""

    @property
    def on_device(self) -> bool:
        """Whether the head is to be measured on a device, beside the exact evaluation."""
        return bool(self.q_device or self.shots or self.noise)

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        for text in self.noise:
            try:
                Noise.parse(text)
            except ValueError as error:
                problems.append(str(error))
        for text in self.q_device_options:
            key, equals, _ = text.partition("=")
            if not (key.isidentifier() and equals):
                problems.append(f"--q-device-options has {text!r}; write KEY=VALUE")
            elif key == "shots":
                problems.append(f"--q-device-options has {text}; give --shots instead")
        if self.q_device_options and self.q_device is None:
            problems.append("--q-device-options are given without --q-device; name the device")
        return problems
