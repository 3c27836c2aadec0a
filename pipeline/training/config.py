"""Flags of ``train``, which a run also records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from features.util.flags import FACTOR, POSITIVE, Flags, at_least
from pipeline.heads.config import CircuitFlags
from pipeline.heads.registry import HEADS, HeadConfig

LR_STEP = 10


@dataclass(frozen=True, kw_only=True)
class TrainingFiles(Flags):
    """Where a training reads and writes."""

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made."""
    out: Path = Path("out")
    """The folder to write."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(CircuitFlags, TrainingFiles):
    """What heads are made of and how they are trained. The defaults are those of the paper (arXiv:1912.08278)."""

    epochs: Annotated[int, at_least(1)] = 30
    """Passes over the training features."""
    batch: Annotated[int, at_least(1)] = 4
    """Samples a step."""
    lr: Annotated[float, POSITIVE] = 4e-4
    """Learning rate of Adam."""
    lr_step: Annotated[int, at_least(1)] = LR_STEP
    """Epochs between two changes of the learning rate."""
    lr_gamma: Annotated[float, FACTOR] = 0.1
    """Factor that multiplies the learning rate every --lr-step epochs."""
    decay_steps: Annotated[int, at_least(1)] | None = None
    """Steps of the optimiser between two changes of the learning rate, instead of the epochs of --lr-step: with few
    pictures an epoch has few steps, and the rate falls before much is learned. The paper's run takes 610."""
    class_weights: Literal["none", "balanced"] = "none"
    """What a class counts in the loss. `balanced`: as if each class had as many pictures, N / (classes * pictures of
    the class); the losses that are printed and recorded stay those of all pictures alike."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if self.decay_steps is not None and self.lr_step != LR_STEP:
            problems.append(
                f"--decay-steps is {self.decay_steps} and --lr-step is {self.lr_step}; give one of them: steps, or "
                "epochs"
            )
        return problems


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Hyperparameters, HeadConfig):
    """Train a head on cached features. The defaults are those of the paper (arXiv:1912.08278).

    Leaves in the run folder: head.safetensors (the weights of the last and of the best epoch), run.json (everything
    they came from), history.jsonl (a line an epoch) and checkpoint.pt (for --resume).
    """

    out: Path = Path("out/run")
    """The run folder to write."""
    views: Annotated[int, at_least(0)] = 0
    """Augmented views of each training image to draw from in each epoch, made by the same flag of stage 1; 0 takes the
    plain images."""
    seeds: Annotated[int, at_least(1)] = 1
    """Heads to train together in dense matrix products, with seeds from --seed on. The first is the run itself, each
    further one a run in seed-N below it; heads.json holds the spread of their accuracies."""
    memory_limit: Annotated[float, POSITIVE] | None = None
    """Most memory that rows may take, in GB; by default most of what is free. More rows are read from the disk as they
    are needed, shuffled in blocks."""
    engine: Literal["local", "ray"] = "local"
    """`local`: this process. `ray`: Ray Train over the machines of a cluster (the extra `ray`), which share the rows;
    --features and --out must then lie on a file system that all of them see."""
    workers: Annotated[int, at_least(1)] = 1
    """Processes of `--engine ray`; each takes an equal share of every batch."""
    address: str | None = None
    """Address of the Ray cluster; without it, one is started on this machine."""
    resume: bool = False
    """Continue from the checkpoint: of a training that was stopped, or, with more --epochs, of the run in --out."""
    force: bool = False
    """Replace another head in --out, which is refused otherwise. Restart a stopped training from its beginning, unless
    --resume is given too."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if self.seeds > 1 and self.resume:
            problems.append(f"--seeds is {self.seeds} and --resume is given; only a single head can be resumed")
        entry = HEADS.get(self.head)
        prepared, fitted = entry is not None and entry.prepared, entry is not None and entry.fitted
        if self.engine == "local":
            given = {"--workers": self.workers > 1, "--address": self.address is not None}
            problems += [f"{name} is given, but --engine is local; add --engine ray" for name in given if given[name]]
        elif self.seeds > 1 or prepared or self.views:
            which = f", --head {self.head}" if prepared else ""
            problems.append(
                f"--engine is ray; it trains one head, step by step, on plain rows: not --seeds, --views{which}"
            )
        elif self.batch % self.workers:
            problems.append(f"--batch is {self.batch} and --workers is {self.workers}; the batch must be a multiple")
        if self.views and prepared:
            problems.append(f"--views is {self.views}; --head {self.head} is fitted once: it takes the plain images")
        if self.seeds > 1 and fitted:
            problems.append(f"--seeds is {self.seeds}; --head {self.head} is fitted, not trained: only one at a time")
        return problems

    @property
    def passes(self) -> int:
        """Epochs of all phases together: 1 where the head is fitted instead of trained."""
        return self.epochs * HEADS[self.head].phases or 1

    @property
    def extendable(self) -> list[str]:
        """The settings in which a training may go on with larger values; none where they decide when a phase ends."""
        return ["epochs"] if HEADS[self.head].phases <= 1 else []

    @property
    def judged_from(self) -> int:
        """The first epoch, from 0, of the last phase: only epochs from it on are of the head that was asked for."""
        return self.epochs * max(HEADS[self.head].phases - 1, 0)
