"""Names of circuits and simulators, in a module without torch, so that a command line can check them at once."""

from __future__ import annotations

from typing import Literal, get_args

from features.util.errors import did_you_mean

Entangler = Literal["chain", "ring", "none"]
Simulator = Literal["lightning", "qnode", "dense"]
CDtype = Literal["complex128", "complex64"]
PreNet = Literal["auto", "linear", "none"]

ENTANGLERS: tuple[Entangler, ...] = get_args(Entangler)
SIMULATORS: tuple[Simulator, ...] = get_args(Simulator)
C_DTYPES: tuple[CDtype, ...] = get_args(CDtype)
CIRCUIT_NAMES = (
    "mari",
    "strongly-entangling",
    "basic-entangler",
    "reuploading",
    "iqp",
    "amplitude",
    "simplified-two-design",
    "separable",
)
"""The circuits of ``circuits.py``."""


def circuit_problems(flag: str, circuit: str) -> list[str]:
    """What is wrong with the name of a circuit; whether a file is there shows when it is read."""
    if circuit in CIRCUIT_NAMES or (":" in circuit and all(circuit.rpartition(":")[::2])):
        return []
    near = did_you_mean(circuit, CIRCUIT_NAMES)
    return [f"{flag} is {circuit!r}; choose one of {', '.join(CIRCUIT_NAMES)}, or my_circuit.py:name{near}"]
