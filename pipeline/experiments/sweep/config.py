"""Flags of ``sweep``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from features.util.flags import Flags, at_least
from pipeline.heads.config import circuit_problems


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Flags):
    """Search for good hyperparameters of the quantum head with Optuna: qubits, depth, entangler, q_delta, lr, batch.

    Looks at the training features only: a setting's worth is its accuracy in repeated stratified cross-validation
    within them, at the last epoch; every setting gets the same folds and seeds. The validation features are used once,
    for the setting that wins. The first trial is the paper's setting.

    Leaves in --out: sweep.html (what it found, with pictures), sweep.md, sweep.json (all trials), pictures, and
    journal.log, from which the same command goes on: give more --trials, or start it again after Ctrl-C.
    """

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made."""
    out: Path = Path("out/sweep")
    """The folder to write."""
    circuit: str = "mari"
    """The circuit, as for `train`. Circuits other than `mari` have no entangler: its value changes nothing."""
    trials: Annotated[int, at_least(1)] = 50
    """Settings to try in all, those of earlier calls included."""
    jobs: Annotated[int, at_least(0)] = 0
    """Processes that try settings side by side, one thread each; 0 takes one for each core."""
    epochs: Annotated[int, at_least(1)] = 30
    """Passes over the training features of a fold. Settings that are behind after a third of them may be cut short."""
    folds: Annotated[int, at_least(2)] = 5
    """Parts of the training features, each held out once."""
    repeats: Annotated[int, at_least(1)] = 4
    """Repetitions of the cross-validation, each with other folds and initial weights; the winner is judged on 5 times
    as many initial weights."""
    seed: Annotated[int, at_least(0)] = 42
    """Seed of the folds, of the initial weights, and of the search."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        return super().problems() + circuit_problems("--circuit", self.circuit)
