"""What a diagnosis finds: the record in ``diagnose.json``.

In: what the diagnostics return. Out: dataclasses that are written as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.diagnostics.config import DiagnoseConfig
from pipeline.diagnostics.dimension import EffectiveDimension
from pipeline.diagnostics.expressibility import Expressibility
from pipeline.diagnostics.fourier import Fourier
from pipeline.diagnostics.gradients import Decay, GradientVariance
from pipeline.diagnostics.sampled import Sampled


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A circuit at its trained weights, on the training rows.

    Attributes:
        entanglement: Meyer and Wallach's Q, the mean over rows.
        circuit: Local effective dimension of the circuit's weights.
        head: The same of all weights that training changes, classical layers included; None if these are too many.
    """

    entanglement: Sampled
    circuit: EffectiveDimension
    head: EffectiveDimension | None


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One circuit. What is not defined for it is None, and ``missing`` says why.

    Attributes:
        name: As it was asked for.
        qubits: Wires.
        depth: Layers that were asked for.
        inputs: Inputs a sample.
        weights: Trainable angles.
        without_effect: How many of them never have a gradient: no output depends on them; None if it is not known.
        simulator: What ran it.
        entanglement: Mean of Meyer and Wallach's Q over random weights.
        expressibility: Divergence from Haar-random states.
        gradients: Variance of gradients for each size.
        decays: How it changes with each further qubit.
        fourier: Coefficients as a function of the inputs.
        dimension: Effective dimension over random weights.
        trained: At the trained weights; None of a circuit that is not trained.
        missing: By diagnostic, why it is not there.
    """

    name: str
    qubits: int
    depth: int
    inputs: int
    weights: int
    without_effect: int | None
    simulator: str
    entanglement: Sampled | None
    expressibility: Expressibility | None
    gradients: list[GradientVariance]
    decays: list[Decay]
    fourier: Fourier | None
    dimension: EffectiveDimension | None
    trained: Trained | None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name in tables and pictures: of a file without its folder."""
        return self.name.rpartition("/")[2]

    @property
    def variance(self) -> Sampled | None:
        """The variance of gradients at its own size."""
        own = (each for each in self.gradients if (each.qubits, each.depth) == (self.qubits, self.depth))
        return next((each.variance for each in own), None)

    @property
    def decay(self) -> Decay | None:
        """How it changes with each further qubit, at its own depth."""
        return next((each for each in self.decays if each.depth == self.depth), None)


@dataclass(frozen=True, kw_only=True)
class Diagnoses:
    """``diagnose.json``. It holds neither a date nor a time taken: the same command gives the same file.

    Attributes:
        config: The flags.
        circuits: One for each circuit.
        run: Fingerprint of the head's weights, with --run.
        versions: Of the libraries.
    """

    config: DiagnoseConfig
    circuits: list[Diagnosis]
    run: str | None
    versions: dict[str, str]
