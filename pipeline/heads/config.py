"""Flags of a head's circuit, which all commands that train share, and those of ``heads``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from features.util.errors import did_you_mean
from features.util.flags import Flags, at_least
from pipeline.quantum.choices import Entangler, PreNet


@dataclass(frozen=True, kw_only=True)
class CircuitFlags(Flags):
    """The circuit of a head, or the layer in its place. The defaults are those of the paper (arXiv:1912.08278)."""

    qubits: Annotated[int, at_least(1)] = 4
    """Wires of the circuit, each fed by one output of the first linear layer; that layer's width without a circuit."""
    depth: Annotated[int, at_least(0)] = 6
    """Variational layers of the circuit."""
    circuit: str = "mari"
    """`mari` (the paper's), another of those that `python -m pipeline heads` lists, or one of yours:
    my_circuit.py:name, where the file also holds weight_shapes."""
    pre_net: PreNet = "auto"
    """What makes the circuit's inputs: a `linear` layer, or `none`: the features themselves. `auto` is `none` for the
    circuit `amplitude`, else `linear`."""
    entangler: Entangler = "chain"
    """CNOTs of a layer of `mari`: `chain` (the paper's), `ring`, or `none`."""
    q_delta: Annotated[float, at_least(0)] = 0.01
    """Spread of the initial quantum weights, in radians."""
    seed: Annotated[int, at_least(0)] = 42
    """Seed of the initial weights and of the order of the samples. The same seed gives the same weights."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        return super().problems() + circuit_problems("--circuit", self.circuit)


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(Flags):
    """Print all heads side by side: what they are made of, and how many parameters they train."""

    n_features: Annotated[int, at_least(1)] = 512
    """Features an image."""
    n_classes: Annotated[int, at_least(2)] = 2
    """Classes."""
    qubits: Annotated[int, at_least(1)] = 4
    """Wires of the circuit, and the width in its place."""
    depth: Annotated[int, at_least(0)] = 6
    """Variational layers of the circuit."""


def circuit_problems(flag: str, circuit: str) -> list[str]:
    """What is wrong with the name of a circuit. A file is not looked for: reading it shows whether it is there."""
    if circuit == "mari" or (":" in circuit and all(circuit.rpartition(":")[::2])):
        return []
    # PennyLane takes seconds to import; whoever names one of its circuits needs it anyway.
    from pipeline.quantum.circuits import CIRCUITS

    if circuit in CIRCUITS:
        return []
    near = did_you_mean(circuit, list(CIRCUITS))
    return [f"{flag} is {circuit!r}; choose one of {', '.join(CIRCUITS)}, or my_circuit.py:name{near}"]
