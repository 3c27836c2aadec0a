"""What stages 2 and 3 can be told: one frozen dataclass a command, which is its flags and its help text."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.devices.noise import Noise

HEADS = ("quantum", "separable", "frozen", "classical", "mlp", "linear", "logistic")
ENTANGLERS = ("chain", "ring", "none")
SIMULATORS = ("lightning", "qnode", "dense")
C_DTYPES = ("complex128", "complex64")


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """What heads are made of and how they are trained. The defaults are those of the paper (arXiv:1912.08278)."""

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made."""
    out: Path = Path("out")
    """The folder to write."""
    qubits: int = 4
    """Wires of the circuit, each fed by one output of the first linear layer; that layer's width without a circuit."""
    depth: int = 6
    """Variational layers of the circuit."""
    entangler: str = "chain"
    """CNOTs of a layer: `chain` (the paper's), `ring`, or `none`."""
    q_delta: float = 0.01
    """Spread of the initial quantum weights, in radians."""
    epochs: int = 30
    """Passes over the training features."""
    batch: int = 4
    """Samples a step."""
    lr: float = 4e-4
    """Learning rate of Adam."""
    lr_step: int = 10
    """Epochs after which the learning rate is multiplied by --lr-gamma."""
    lr_gamma: float = 0.1
    """That factor."""
    seed: int = 42
    """Seed of the initial weights and of the order of the samples. The same seed gives the same weights."""

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise ValueError("; ".join(problems))

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        return [
            *_below(self, qubits=1, depth=0, epochs=1, batch=1, lr_step=1, seed=0),
            *(
                f"{_flag(name)} is {getattr(self, name)}; it must be {bound}"
                for name, holds, bound in (
                    ("q_delta", 0 <= self.q_delta < float("inf"), "0 or more"),
                    ("lr", 0 < self.lr < float("inf"), "more than 0"),
                    ("lr_gamma", 0 < self.lr_gamma <= 1, "more than 0 and at most 1"),
                )
                if not holds
            ),
            *_not_among(self, entangler=ENTANGLERS),
        ]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Hyperparameters):
    """Train a head on cached features. The defaults are those of the paper (arXiv:1912.08278).

    Leaves in the run folder: head.safetensors (the weights of the last and of the best epoch), run.json (everything
    they came from), history.jsonl (a line an epoch) and checkpoint.pt (for --resume).
    """

    out: Path = Path("out/run")
    """The run folder to write."""
    head: str = "quantum"
    """`quantum`, the paper's, or a control: `separable` (no entangling gates), `frozen` (quantum weights stay as they
    start), `classical` (circuit removed), `mlp` (in its place a classical layer of as many parameters), `linear` (just
    features to classes), `logistic` (that of scikit-learn, its regularisation chosen by cross-validation; one pass,
    whatever --epochs). Flags of the circuit say nothing to heads without one."""
    simulator: str = "lightning"
    """`lightning`: lightning.qubit with adjoint differentiation, a batch as one circuit. `dense`: matrix products, for
    few qubits. `qnode`: an ordinary QNode on --device, the slow reference."""
    device: str = "default.qubit"
    """PennyLane device of the `qnode` simulator. (In ARGS of `make train`; `make eval` evaluates on its --device.)"""
    c_dtype: str = "complex128"
    """Precision of the `lightning` simulator: `complex128` or `complex64`."""
    views: int = 0
    """Draw each training image in each epoch from its first so many augmented views, which stage 1 made with the same
    flag; 0 takes the plain images."""
    heads: int = 1
    """Heads to train together in dense matrix products, with seeds from --seed on. The first is the run itself, each
    further one a run in seed-N below it; heads.json holds the spread of their accuracies."""
    resume: bool = False
    """Go on from the checkpoint in the run folder, with the same configuration."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = [
            *super().problems(),
            *_below(self, heads=1, views=0),
            *_not_among(self, head=HEADS, simulator=SIMULATORS, c_dtype=C_DTYPES),
        ]
        if self.heads > 1 and self.resume:
            problems.append(f"--heads is {self.heads} and --resume is given; only a single head can be resumed")
        if self.views and self.head == "logistic":
            problems.append(f"--views is {self.views}; --head logistic is fitted once: it takes the plain images")
        if self.heads > 1 and self.head == "logistic":
            problems.append(f"--heads is {self.heads}; --head logistic is fitted, not trained: only one at a time")
        return problems

    @property
    def passes(self) -> int:
        """Epochs of this head: 1 where it is fitted instead of trained."""
        return 1 if self.head == "logistic" else self.epochs


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
    seeds: int = 20
    """Repetitions, with seeds from --seed on."""
    folds: int = 5
    """Folds of the stratified partition of all images."""
    heads: tuple[str, ...] = HEADS
    """Which heads to compare."""
    reference: str = "classical"
    """The head that all others are compared to."""
    epoch: str = "last"
    """`last` takes each head as it is after the last epoch. `inner` holds a fifth of the training images back and takes
    the epoch of lowest loss on them."""
    engine: str = "local"
    """`local` uses processes of this machine, `ray` a cluster (pip install 'quantum-transfer[ray]')."""
    address: str | None = None
    """The Ray cluster's address; without one, Ray starts on this machine."""
    workers: int = 0
    """Processes on this machine; 0 for as many as cores."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = [
            *super().problems(),
            *_below(self, seeds=1, folds=2, workers=0),
            *_not_among(self, epoch=("last", "inner"), engine=("local", "ray")),
        ]
        unknown = [name for name in self.heads if name not in HEADS]
        if unknown:
            problems.append(f"--heads has {', '.join(unknown)}; choose of {', '.join(HEADS)}")
        if len(set(self.heads)) < max(2, len(self.heads)):
            problems.append(f"--heads is {' '.join(self.heads) or 'empty'}; name two or more, each once")
        if self.reference not in self.heads:
            problems.append(f"--reference is {self.reference!r}; it must be one of --heads: {', '.join(self.heads)}")
        if self.address is not None and self.engine != "ray":
            problems.append(f"--address is {self.address!r}, which is for --engine ray")
        if self.address is not None and self.workers:
            problems.append("--workers is for this machine; the cluster at --address has its own number")
        return problems


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Print all heads side by side: what they are made of, and how many parameters they train."""

    width: int = 512
    """Features an image."""
    classes: int = 2
    """Classes."""
    qubits: int = 4
    """Wires of the circuit, and the width in its place."""
    depth: int = 6
    """Variational layers of the circuit."""

    def __post_init__(self) -> None:
        problems = _below(self, width=1, classes=2, qubits=1, depth=0)
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Search for good hyperparameters of the quantum head with Optuna: qubits, depth, entangler, q_delta, lr, batch.

    Looks at the training features only: a setting's worth is its accuracy in repeated stratified cross-validation
    within them, at the last epoch; every setting gets the same folds and seeds. The validation features are used once,
    for the setting that wins. The first trial is the paper's setting.

    Leaves in --out: sweep.json (all trials, the best setting, its command), importance.png, contour.png, and
    journal.log, from which the same command goes on: give more --trials, or start it again after Ctrl-C.
    """

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made."""
    out: Path = Path("out/sweep")
    """The folder to write."""
    trials: int = 50
    """Settings to try in all, those of earlier calls included."""
    jobs: int = 0
    """Processes that try settings side by side, one thread each; 0 takes one for each core."""
    epochs: int = 30
    """Passes over the training features of a fold. Settings that are behind after a third of them may be cut short."""
    folds: int = 5
    """Parts of the training features, each held out once."""
    repeats: int = 4
    """Times that all of it is done, each with other folds and initial weights; the winner is judged on 5 times as many
    initial weights."""
    seed: int = 42
    """Seed of the folds, of the initial weights, and of the search."""

    def __post_init__(self) -> None:
        problems = _below(self, trials=1, jobs=0, epochs=1, folds=2, repeats=1, seed=0)
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Reattach a trained head to its backbone, classify the validation images end to end, and write the report.

    Where the images or the weights are not at hand, the report is made from the cached features and says so.
    """

    run: Path = Path("out/run")
    """The run folder that `train` made; the report goes there too."""
    features: Path | None = None
    """The feature cache, if it is no longer where the head was trained on it."""
    data: str | None = None
    """The images, if they are no longer where the features were made from them."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    batch: int = 16
    """Images in one pass through the network."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that decode and resize images beside the network; by default as many as there are cores."""
    device: str | None = None
    """Also measure the head on this PennyLane device, PennyLane's own or a plugin's: `default.qubit`, `default.mixed`,
    `qiskit.aer`, … Where only --shots or --noise are given it is `default.qubit`, for noise `default.mixed`."""
    device_options: tuple[str, ...] = ()
    """KEY=VALUE … of the device, as `qml.device` takes them. They are written into the report: no keys or passwords."""
    shots: tuple[int, ...] = ()
    """Measurements of each image's circuit; several for one row each; 0 for exact expectation values."""
    noise: tuple[str, ...] = ()
    """Noise in the circuit, such as depolarizing=0.02,readout=0.01; several levels for one row each; `none` for none.
    Probabilities of depolarizing, amplitude_damping, phase_damping, bit_flip and phase_flip follow every gate on every
    wire that it touches; readout flips each measured bit."""

    @property
    def on_device(self) -> bool:
        """Whether the head is to be measured on a device, beside the exact evaluation."""
        return bool(self.device or self.shots or self.noise)

    def __post_init__(self) -> None:
        problems = []
        if self.batch < 1 or self.workers < 1:
            problems.append(f"--batch is {self.batch}, --workers is {self.workers}; both must be 1 or more")
        if any(number < 0 for number in self.shots):
            problems.append(f"--shots is {' '.join(map(str, self.shots))}; each must be 0 (exact) or more")
        for text in self.noise:
            try:
                Noise.parse(text)
            except ValueError as error:
                problems.append(str(error))
        for text in self.device_options:
            key, equals, _ = text.partition("=")
            if not (key.isidentifier() and equals):
                problems.append(f"--device-options has {text!r}; write KEY=VALUE")
            elif key == "shots":
                problems.append(f"--device-options has {text}; give --shots instead")
        if self.device_options and self.device is None:
            problems.append("--device-options are given without --device; name the device")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Classify pictures with the whole network: backbone and trained head."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional] = field(default=())
    """Image files, or folders of them."""
    run: Path = Path("out/run")
    """The run folder that `train` made."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to use."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    top: int | None = None
    """Give so many classes of each image, the most probable first. By default the table has the most probable one, JSON
    and CSV have them all in the order of the classes."""
    json: bool = False
    """Print JSON, one object an image."""
    csv: bool = False
    """Print CSV."""
    batch: int = 16
    """Images in one pass through the network."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that decode and resize images beside the network; by default as many as there are cores."""

    def __post_init__(self) -> None:
        problems = _below(self, batch=1, workers=1)
        if not self.images:
            problems.append('no images given; name files or folders (make: IMAGES="a.jpg dir/")')
        if self.json and self.csv:
            problems.append("--json and --csv exclude each other; give one")
        if self.top is not None and self.top < 1:
            problems.append(f"--top is {self.top}; it must be 1 or more")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Open a local web page that classifies the pictures dropped on it, and shows what the circuit measures.

    The page can be reached from this machine only. Uploads are removed as soon as they are read. Ctrl-C ends it.
    """

    run: Path = Path("out/run")
    """The run folder that `train` made."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to use."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    port: int = 7860
    """The page's port; if it is in use, the next free one."""
    open: bool = False
    """Open the page in the default browser."""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"--port is {self.port}; it must be from 1 to 65535")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Turn a trained head and its backbone into files for other programs.

    model.onnx is the whole network in one file, which ONNX Runtime runs without PennyLane and without this project;
    its circuit is a few matrix products, so it takes at most 10 qubits. model.pth is a `state_dict` with the names that
    PennyLane's demo gives: torchvision's model with the head in the place of its last layer (fc.pre_net, …).
    """

    run: Annotated[Path, tyro.conf.Positional] = Path("out/run")
    """The run folder that `train` made."""
    out: Path | None = None
    """The folder to write; by default the run folder."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to take."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""


def _below(config: object, **least: int) -> list[str]:
    """A sentence for each field that is less than its least value."""
    return [
        f"{_flag(name)} is {getattr(config, name)}; it must be {bound} or more"
        for name, bound in least.items()
        if getattr(config, name) < bound
    ]


def _not_among(config: object, **choices: tuple[str, ...]) -> list[str]:
    """A sentence for each field that is none of its choices, with the nearest of them."""
    problems = []
    for name, allowed in choices.items():
        given = getattr(config, name)
        if given not in allowed:
            near = get_close_matches(given, allowed, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            problems.append(f"{_flag(name)} is {given!r}; choose one of {', '.join(allowed)}{hint}")
    return problems


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
