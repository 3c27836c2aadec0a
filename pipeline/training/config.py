"""Flags of ``train``, which are also what a run records of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from features.util.flags import FACTOR, POSITIVE, Flags, at_least
from pipeline.heads.registry import HEADS, HeadName
from pipeline.quantum.choices import CDtype, Entangler, PreNet, Simulator, circuit_problems


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Flags):
    """What heads are made of and how they are trained. The defaults are those of the paper (arXiv:1912.08278)."""

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made."""
    out: Path = Path("out")
    """The folder to write."""
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
    epochs: Annotated[int, at_least(1)] = 30
    """Passes over the training features."""
    batch: Annotated[int, at_least(1)] = 4
    """Samples a step."""
    lr: Annotated[float, POSITIVE] = 4e-4
    """Learning rate of Adam."""
    lr_step: Annotated[int, at_least(1)] = 10
    """Epochs after which the learning rate is multiplied by --lr-gamma."""
    lr_gamma: Annotated[float, FACTOR] = 0.1
    """That factor."""
    seed: Annotated[int, at_least(0)] = 42
    """Seed of the initial weights and of the order of the samples. The same seed gives the same weights."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        return super().problems() + circuit_problems("--circuit", self.circuit)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Hyperparameters):
    """Train a head on cached features. The defaults are those of the paper (arXiv:1912.08278).

    Leaves in the run folder: head.safetensors (the weights of the last and of the best epoch), run.json (everything
    they came from), history.jsonl (a line an epoch) and checkpoint.pt (for --resume).
    """

    out: Path = Path("out/run")
    """The run folder to write."""
    head: HeadName = "quantum"
    """`quantum`, the paper's, or a baseline; `python -m pipeline heads` lists them. Flags of the circuit change nothing
    in heads without one."""
    simulator: Simulator = "lightning"
    """`lightning`: lightning.qubit with adjoint differentiation, a batch as one circuit. `dense`: matrix products, for
    few qubits. `qnode`: an ordinary QNode on --q-device, the slow reference."""
    q_device: str = "default.qubit"
    """PennyLane device of the `qnode` simulator."""
    c_dtype: CDtype = "complex128"
    """Precision of the `lightning` simulator: `complex128` or `complex64`."""
    views: Annotated[int, at_least(0)] = 0
    """Draw each training image in each epoch from its first so many augmented views, which stage 1 made with the same
    flag; 0 takes the plain images."""
    seeds: Annotated[int, at_least(1)] = 1
    """Heads to train together in dense matrix products, with seeds from --seed on. The first is the run itself, each
    further one a run in seed-N below it; heads.json holds the spread of their accuracies."""
    resume: bool = False
    """Go on from the checkpoint: of a training that was stopped, or, with more --epochs, of the run in --out."""
    force: bool = False
    """Replace the head that stands in --out; without it another head than that one is refused. Start a training that
    was stopped from its beginning, unless --resume is given too."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if self.seeds > 1 and self.resume:
            problems.append(f"--seeds is {self.seeds} and --resume is given; only a single head can be resumed")
        fitted = self.head in HEADS and HEADS[self.head].fitted
        if self.views and fitted:
            problems.append(f"--views is {self.views}; --head {self.head} is fitted once: it takes the plain images")
        if self.seeds > 1 and fitted:
            problems.append(f"--seeds is {self.seeds}; --head {self.head} is fitted, not trained: only one at a time")
        return problems

    @property
    def passes(self) -> int:
        """Epochs of this head: 1 where it is fitted instead of trained."""
        return 1 if HEADS[self.head].fitted else self.epochs
