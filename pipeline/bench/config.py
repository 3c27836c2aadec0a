"""Configuration of the benchmark: its flags and its help page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from features.util.flags import POSITIVE, Flags, at_least

Kind = Literal["circuit", "step", "rot", "reuploading", "strongly_entangling"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig(Flags):
    """Time the quantum head against its rivals on the same work, in turns, in one run.

    Work: the circuit forward and backward, and a whole training step, over qubits and batches. Rivals: the PennyLane
    demo's loop, lightning.qubit with adjoint, default.qubit with backpropagation, our simulators, and the head with the
    circuit removed. Every rival's results are first compared with a float64 reference. Then: evaluation, 100 heads
    together, and the time from process start to a trained head. Leave the machine alone while it runs.

    Leaves in --out: bench.json (every sample), bench.md (the tables), bench.png. With --peers: peers.json and so on.
    Exit code 1 if a rival's results are wrong.
    """

    out: Path = Path("out/bench")
    """The folder to write."""
    peers: bool = False
    """Race against TensorCircuit-NG and hand-written JAX instead; installs them into .venv-peers when needed."""
    extraction: bool = False
    """Time stage 1 instead: the backbone against plain torch, files to feature rows, and memory."""
    hybrid: bool = False
    """Time stage 3 instead: the whole network against a plain ResNet18, for one image and in batches."""
    streaming: bool = False
    """Time stage 2 on rows from the disk instead, against rows in memory; writes 12 GB below --out meanwhile."""
    data: str | None = None
    """Images for --extraction; generated ones by default."""
    weights: str | None = None
    """A ResNet18 state_dict for --extraction and --hybrid; random ones by default."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What --extraction runs the network on."""
    targets: Path | None = None
    """A CSV file of bounds on the figures (benchmark, figure, bound); the tables say which are met. This project's
    own are in tests/bench/targets.csv."""
    quick: bool = False
    """Check that everything runs, with tiny work and few repetitions; ignores --qubits, --batches and --repeats."""
    kinds: tuple[Kind, ...] = ("circuit", "step", "rot", "reuploading", "strongly_entangling")
    """Only these kinds of work. The first two are the paper's circuit, over --qubits and --batches; the others are
    circuits of other people, at sizes of their own."""
    qubits: tuple[Annotated[int, at_least(1)], ...] = (4, 8, 12, 16)
    """Wires of the circuit."""
    batches: tuple[Annotated[int, at_least(1)], ...] = (4, 32, 256)
    """Samples a step."""
    rivals: tuple[str, ...] = ()
    """Only these rivals, by the names in bench.json; all of them if none is given."""
    depth: Annotated[int, at_least(0)] = 6
    """Variational layers of the circuit."""
    repeats: Annotated[int, at_least(1)] = 15
    """Rounds. In each, a rival's sample is the median call of a tenth of a second, or one longer call."""
    limit: Annotated[float, POSITIVE] = 30.0
    """Seconds that a rival may take for one piece of work, without compilation. A slow rival takes part in fewer
    rounds. It is skipped, and the tables say so, if two calls would take longer or memory would not suffice."""
    threads: Annotated[int, at_least(1)] = 1
    """Threads of each rival's libraries, PennyLane's and the peers' alike. `train` uses one."""

    def problems(self) -> list[str]:
        """One sentence for each mistake in the values."""
        problems = super().problems()
        if self.peers + self.extraction + self.hybrid + self.streaming > 1:
            problems.append("--peers, --extraction, --hybrid and --streaming exclude each other; give one")
        if self.device != "cpu" and not self.extraction:
            problems.append(f"--device is {self.device}, which is for --extraction; add that, or leave it out")
        if not (self.qubits and self.batches and self.kinds):
            problems.append("--kinds, --qubits and --batches must each name one or more")
        return problems
