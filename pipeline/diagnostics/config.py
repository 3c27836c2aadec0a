"""Flags of ``diagnose``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from features.util.flags import Flags, at_least
from pipeline.heads.config import circuit_problems
from pipeline.quantum.choices import Entangler

LEAST_DATA = 20
"""Fewest samples for an effective dimension: below, the logarithm in its definition is not positive."""


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(Flags):
    """What can a circuit do? Measure it without training: entanglement, expressibility, vanishing gradients, Fourier
    coefficients, effective dimension.

    Weights are drawn uniformly from a full turn. Inputs are drawn uniformly from a quarter turn to either side, as the
    paper's head makes them; with --run they are those that the trained head gives its circuit for the training rows.
    All figures carry the standard error of the draws; the same command gives the same files.

    Leaves in --out: diagnose.html (a page with the table, the picture, and what each column means), the same as
    diagnose.md and diagnose.png, and diagnose.json (all figures).
    """

    circuits: tuple[str, ...] = ()
    """Circuits as --circuit of `train` takes them: names, or my_circuit.py:name; all named ones if none is given."""
    run: Path | None = None
    """Diagnose the trained head of this run instead: its circuit at random and at the trained weights."""
    epoch: Literal["last", "best"] = "last"
    """The epoch of --run whose head is diagnosed: `last` or `best`."""
    features: Path | None = None
    """The feature cache of --run, if it is no longer where it was."""
    out: Path = Path("out/diagnose")
    """The folder to write."""
    qubits: Annotated[int, at_least(1)] = 4
    """Wires of the circuits; --run has its own."""
    depth: Annotated[int, at_least(0)] = 6
    """Variational layers of the circuits; --run has its own."""
    entangler: Entangler = "chain"
    """CNOTs of a layer of `mari`: `chain` (the paper's), `ring`, or `none`."""
    samples: Annotated[int, at_least(2)] = 200
    """Random weights for gradients and effective dimension."""
    pairs: Annotated[int, at_least(100)] = 5000
    """Pairs of random states for expressibility and entanglement; Fourier coefficients take as many weights."""
    rows: Annotated[int, at_least(1)] = 250
    """Inputs over which the Fisher information is averaged; with --run, training rows."""
    data: Annotated[int, at_least(LEAST_DATA)] = 1000
    """Samples that the effective dimension is for; --run takes the number of its training rows."""
    grid_qubits: tuple[Annotated[int, at_least(1)], ...] = (2, 4, 6, 8)
    """Numbers of wires at which the variance of gradients is measured."""
    grid_depths: tuple[Annotated[int, at_least(1)], ...] = (1, 3, 6, 12)
    """Numbers of layers at which it is measured for a single circuit; several circuits take --depth."""
    seed: Annotated[int, at_least(0)] = 42
    """Seed of all draws."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        for circuit in self.circuits:
            problems += circuit_problems("--circuits", circuit)
        if len(set(self.circuits)) < len(self.circuits):
            problems.append(f"--circuits is {' '.join(self.circuits)}; name each once")
        if self.run is not None and self.circuits:
            problems.append(f"--run and --circuits {' '.join(self.circuits)} are given; a run has its own circuit")
        if self.run is not None:
            own = {name: getattr(self, name) for name in ("qubits", "depth", "entangler", "data")}
            problems += [
                f"--{name} is {value} and --run is given; a run has its own"
                for name, value in own.items()
                if value != type(self).__dataclass_fields__[name].default
            ]
        if self.run is None:
            given = {"--features": self.features is not None, "--epoch": self.epoch != "last"}
            problems += [f"{name} is given without --run, to which it belongs" for name in given if given[name]]
            if len(self.circuits) != 1 and self.grid_depths != type(self).grid_depths:
                depths = " ".join(map(str, self.grid_depths))
                problems.append(f"--grid-depths is {depths}, which is for one circuit; name one of --circuits")
        return problems
