"""A level of noise: read from a flag, put into a circuit as channels.

In: text such as ``depolarizing=0.02,readout=0.01``. Out: a :class:`Noise`, which queues PennyLane's channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from features.util.errors import did_you_mean

# PennyLane's channel of each name, in the order in which they follow a gate. Each takes a probability.
GATE_CHANNELS = {
    "depolarizing": "DepolarizingChannel",
    "amplitude_damping": "AmplitudeDamping",
    "phase_damping": "PhaseDamping",
    "bit_flip": "BitFlip",
    "phase_flip": "PhaseFlip",
}
NAMES = (*GATE_CHANNELS, "readout")


@dataclass(frozen=True)
class Noise:
    """One level of noise; without any strengths, none.

    Attributes:
        strengths: Pairs of a name of ``NAMES`` and a probability from 0 to 1, in the order of ``NAMES``. Names and
            parameters are those of PennyLane's channels: ``depolarizing`` p leaves a wire as it is with probability
            1 − p and applies X, Y or Z with p/3 each, so that ⟨Z⟩ shrinks by 1 − 4p/3 (Nielsen and Chuang, section
            8.3.4, with its p = 4/3 of this). ``readout`` is the probability that a measured bit is read wrongly.
    """

    strengths: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Read ``name=probability,name=probability``, or ``none``.

        Raises:
            ValueError: naming what is not understood, and what there is.
        """
        if text == "none":
            return cls()
        strengths: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name not in NAMES:
                hint = did_you_mean(name, NAMES)
                raise ValueError(f"--noise {text} has {name!r}; there are {', '.join(NAMES)}, and none alone{hint}")
            if name in strengths:
                raise ValueError(f"--noise {text} has {name} twice; give each once")
            try:
                strengths[name] = float(value)
            except ValueError:
                raise ValueError(f"--noise {text} has {part!r}; write {name}=0.02, for example") from None
            if not 0 <= strengths[name] <= 1:
                raise ValueError(f"--noise {text} has {name} {value}; it is a probability, from 0 to 1")
        return cls(tuple((name, strengths[name]) for name in NAMES if name in strengths))

    def __str__(self) -> str:
        return ",".join(f"{name}={value:g}" for name, value in self.strengths) or "none"

    @property
    def quiet(self) -> bool:
        """Whether nothing is there that changes a state, so that any device can run it."""
        return not any(value for _, value in self.strengths)

    def apply_to(self, circuit: Callable[..., Any]) -> Callable[..., list[Any]]:
        """The same circuit with the channels in it, to be called inside a QNode.

        Each gate that the circuit queues is followed by the channels, on each wire that it touches; the readout's bit
        flip stands before the measurement. A device may break a gate into others: they get no channels of their own.

        Args:
            circuit: Queues gates, then measurements of single wires.
        """
        import pennylane as qml

        strengths = {name: value for name, value in self.strengths if value}
        readout = strengths.pop("readout", 0)

        def noisy(*arguments: Any) -> list[Any]:
            with qml.QueuingManager.stop_recording():
                script = qml.tape.make_qscript(circuit)(*arguments)
            for gate in script.operations:
                qml.apply(gate)
                for wire in gate.wires:
                    for name, value in strengths.items():
                        getattr(qml, GATE_CHANNELS[name])(value, wires=wire)
            if readout:
                for measurement in script.measurements:
                    qml.BitFlip(readout, wires=measurement.wires)
            return [qml.apply(measurement) for measurement in script.measurements]

        return noisy
