"""Flags of ``compare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from features.util.flags import at_least
from pipeline.heads.config import circuit_problems
from pipeline.heads.registry import HEADS, HeadName
from pipeline.training.config import Hyperparameters

# torch takes seconds to import, and the names are needed to check flags: pipeline.util.metrics has the same.
MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "matthews_corrcoef",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "ece",
]


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Hyperparameters):
    """Does the quantum part help? Train all heads with paired seeds on paired folds, and say what can be concluded.

    Each repetition has a seed of its own: for the partition of all images into folds, and, in every head alike, for the
    initial weights and the order of the samples. The published train/val split is judged beside it. No head is chosen
    by the images it is judged on. A comparison that was stopped goes on when the same command is given again.

    Leaves in --out: compare.md (the tables and the conclusion), compare.png, compare.json (all figures), compare.csv
    (every training) and blocks/ (what is done, for going on).
    """

    out: Path = Path("out/compare")
    """The folder to write."""
    seeds: Annotated[int, at_least(1)] = 20
    """Repetitions, with seeds from --seed on."""
    folds: Annotated[int, at_least(2)] = 5
    """Folds of the stratified partition of all images."""
    heads: tuple[HeadName, ...] = tuple(name for name, entry in HEADS.items() if entry.compared)
    """Which heads to compare; `python -m pipeline heads` lists more."""
    circuits: tuple[str, ...] = ()
    """Further circuits, as --circuit takes them: of each a quantum head, and each other of these heads that holds a
    circuit."""
    sets: tuple[Path, ...] = ()
    """Further data sets beside --features: caches, or sets that ship with scikit-learn, as in sklearn:digits."""
    train_sizes: tuple[str, ...] = ("all",)
    """Images a class to learn from, as in `5 10 20 50 all`: a learning curve. The few are part of the many, and the
    same for all heads; all are always learned from too. With --decay-steps each size is trained for as many steps as
    all are; without it for as many epochs."""
    metric: MetricName = "accuracy"
    """What is compared, on the images a head did not learn from."""
    reference: HeadName = "classical"
    """The head that all others are compared to."""
    ablations: bool = False
    """Also tell what each part of the trained circuits is worth: it is taken away, and nothing is trained again."""
    early_stopping: bool = False
    """Hold a fifth of the training images back, and take each head as it is after the epoch of lowest loss on them;
    otherwise after the last epoch."""
    engine: Literal["local", "ray"] = "local"
    """`local` uses processes of this machine, `ray` a cluster (pip install 'ray[data]')."""
    address: str | None = None
    """The Ray cluster's address; without one, Ray starts on this machine."""
    workers: Annotated[int, at_least(0)] = 0
    """Processes on this machine; 0 for as many as cores."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if len(set(self.heads)) < len(self.heads) or len(self.heads) + len(self.circuits) < 2:
            problems.append(f"--heads is {' '.join(self.heads) or 'empty'}; name two or more, each once")
        for circuit in self.circuits:
            problems += circuit_problems("--circuits", circuit)
        if len(set(self.circuits)) < len(self.circuits):
            problems.append(f"--circuits is {' '.join(self.circuits)}; name each once")
        least = 5 if self.early_stopping else 2
        for size in self.train_sizes:
            if size != "all" and not (size.isdecimal() and int(size) >= least):
                problems.append(f"--train-sizes has {size!r}; a size is `all`, or {least} or more images a class")
        if len(set(self.train_sizes)) < len(self.train_sizes):
            problems.append(f"--train-sizes is {' '.join(self.train_sizes)}; name each once")
        if self.reference not in self.heads:
            problems.append(f"--reference is {self.reference!r}; it must be one of --heads: {', '.join(self.heads)}")
        if self.ablations and self.early_stopping:
            problems.append("--ablations takes heads after their last epoch, --early-stopping after others; give one")
        if self.address is not None and self.engine != "ray":
            problems.append(f"--address is {self.address!r}, which is for --engine ray")
        if self.address is not None and self.workers:
            problems.append("--workers is for this machine; the cluster at --address has its own number")
        return problems

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes below all, ascending."""
        return tuple(sorted(int(size) for size in self.train_sizes if size != "all"))

    @property
    def names(self) -> tuple[str, ...]:
        """What is compared: the heads, then a quantum head of each further circuit, ``NAME``, and each other of these
        heads that holds a circuit, ``HEAD:NAME``."""
        kinds = ("quantum", *(head for head in self.heads if HEADS[head].of_circuit and head != "quantum"))
        return self.heads + tuple(
            circuit if head == "quantum" and circuit not in HEADS else f"{head}:{circuit}"
            for circuit in self.circuits
            for head in kinds
        )


def head_of(name: str) -> tuple[str, str | None]:
    """The head and the circuit that a compared name stands for; no circuit where it is the one of --circuit."""
    if name in HEADS:
        return name, None
    head, _, circuit = name.partition(":")
    return (head, circuit) if head in HEADS else ("quantum", name)
