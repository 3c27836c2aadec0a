"""The command line of the benchmark: ``python -m pipeline.bench``, ``--peers`` for those in JAX, ``--extraction`` for
stage 1, ``--hybrid`` for stage 3."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from features.util.errors import InputError, run_command

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
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
    """Time stage 1 instead: the backbone against torch alone, the way from files to rows, memory."""
    hybrid: bool = False
    """Time stage 3 instead: the whole network against a plain ResNet18, for one image and in batches."""
    data: str | None = None
    """Images for --extraction; generated ones by default."""
    weights: str | None = None
    """A ResNet18 state_dict for --extraction and --hybrid; random ones by default."""
    quick: bool = False
    """Tiny work and few repetitions, to see that everything runs: --qubits, --batches, --repeats are ignored."""
    qubits: tuple[int, ...] = (4, 8, 12, 16)
    """Wires of the circuit."""
    batches: tuple[int, ...] = (4, 32, 256)
    """Samples a step."""
    rivals: tuple[str, ...] = ()
    """Only these rivals, by the names in bench.json; all of them if none is given."""
    depth: int = 6
    """Variational layers of the circuit."""
    repeats: int = 15
    """Rounds. In each, a rival's sample is the median call of a tenth of a second, or one longer call."""
    limit: float = 30.0
    """Seconds that a rival may take for one piece of work, compilation apart. Where calls are slow it takes part in
    fewer rounds; where two calls would take longer, or memory would not do, it is skipped, and the tables say so."""
    threads: int = 1
    """Threads of each rival's libraries, PennyLane's and the peers' alike. `train` uses one."""

    def __post_init__(self) -> None:
        problems = [
            f"--{name} is {value}; it must be {least} or more"
            for name, value, least in (
                ("qubits", min(self.qubits, default=0), 1),
                ("batches", min(self.batches, default=0), 1),
                ("depth", self.depth, 0),
                ("repeats", self.repeats, 1),
                ("threads", self.threads, 1),
            )
            if value < least
        ]
        if self.peers + self.extraction + self.hybrid > 1:
            problems.append("--peers, --extraction and --hybrid exclude each other; give one")
        if not self.limit > 0:
            problems.append(f"--limit is {self.limit}; it must be more than 0")
        if problems:
            raise ValueError("; ".join(problems))


def main() -> None:
    """Parse the flags, run the benchmark, print its tables."""
    config = tyro.cli(
        Annotated[BenchConfig, tyro.conf.arg(name="")],
        prog="python -m pipeline.bench",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if config.extraction or config.hybrid:
        time_backbone(config)
        return
    record = bench(config)
    wrong = [
        name for cell in record["cells"] for name, outcome in cell["rivals"].items() if outcome["status"] == "wrong"
    ]
    if wrong:
        print(f"wrong results: {', '.join(sorted(set(wrong)))}; see the end of the tables", file=sys.stderr)
        sys.exit(1)


def time_backbone(config: BenchConfig) -> None:
    """Time stage 1 or stage 3; leaves ``extraction.json`` or ``hybrid.json``, and ``….md``, in ``config.out``."""
    from features.util.files import write_text
    from pipeline.bench import extraction, hybrid

    repeats = 2 if config.quick else config.repeats
    if config.extraction:
        record = extraction.bench_extraction(config.data, config.weights, repeats, config.quick)
        name, text = "extraction", extraction.render(record)
    else:
        record = hybrid.bench_hybrid(config.weights, repeats, config.quick)
        name, text = "hybrid", hybrid.render(record)
    config.out.mkdir(parents=True, exist_ok=True)
    files = [config.out / f"{name}.json", config.out / f"{name}.md"]
    write_text(files[0], json.dumps(record, indent=1) + "\n")
    write_text(files[1], text + "\n")
    print(f"{text}\n\n{files[0]}: every sample; tables in {files[1].name}")


def bench(config: BenchConfig) -> dict[str, Any]:
    """Run the benchmark, keeping what is done in ``config.out`` after every piece of work; its record.

    Raises:
        InputError: If a flag or the machine does not allow it.
        KeyboardInterrupt: At Ctrl-C, with what is done written.
    """
    # torch and PennyLane take seconds to import: only once the flags are right.
    from pipeline.bench.entrants import own_entrants, peer_entrants, reference
    from pipeline.bench.environment import LEFT_OUT, machine, make_peers_environment
    from pipeline.bench.race import Race
    from pipeline.bench.wholerun import time_training

    entrants = peer_entrants(make_peers_environment()) if config.peers else own_entrants()
    if config.rivals:
        unknown = set(config.rivals) - {entrant.name for entrant in entrants}
        if unknown:
            names = ", ".join(entrant.name for entrant in entrants)
            raise InputError(f"--rivals has {', '.join(sorted(unknown))}; choose of {names}")
        entrants = [entrant for entrant in entrants if entrant.name in config.rivals]
    repeats, epochs, runs = (2, 1, 1) if config.quick else (config.repeats, 30, 5)

    record: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
        "peers": config.peers,
        "config": asdict(config) | {"out": str(config.out), "repeats": repeats},
        "machine": machine(),
        "versions": {},
        "cells": [],
        "training": [],
        "targets": [],
        "left_out": LEFT_OUT if config.peers else {},
    }
    config.out.mkdir(parents=True, exist_ok=True)
    try:
        with Race(entrants, reference(), repeats, config.limit, config.threads) as race:
            for work in _works(config):
                try:
                    cell = race.run(work, _progress)
                finally:
                    record["cells"] = [done.record() for done in race.cells]
                    record["versions"] = _merged(race.versions)
                    _write(config, record)
                _progress("")
                print(_line(cell.record()), flush=True)
        if not config.peers:
            _progress("training on the packaged features")
            record["training"] = time_training(epochs, runs)
            _progress("")
        record["complete"] = True
    except KeyboardInterrupt:
        _progress("")
        raise KeyboardInterrupt(f"stopped; what is done is in {_write(config, record)[0]}") from None
    files = _write(config, record)
    print(f"\n{files[1].read_text(encoding='utf-8')}")
    print(f"{files[0]}: every sample; tables in {files[1].name}, plot in {files[2].name}")
    return record


def _works(config: BenchConfig) -> Iterator[Any]:
    from pipeline.bench.worker import Work

    qubits, batches = ((2,), (2, 3)) if config.quick else (config.qubits, config.batches)
    for kind in ("step",) if config.peers else ("circuit", "step"):
        for n in sorted(qubits):
            for batch in sorted(batches):
                yield Work(kind, n, batch, config.depth)


def _write(config: BenchConfig, record: dict[str, Any]) -> list[Path]:
    """Write record, tables and plot, each whole or not at all."""
    from features.util.files import write_text
    from pipeline.bench.plot import draw
    from pipeline.bench.table import render
    from pipeline.bench.targets import target_rows

    record["targets"] = target_rows(record)
    files = [config.out / f"{'peers' if config.peers else 'bench'}.{ending}" for ending in ("json", "md", "png")]
    for file, text in ((files[0], json.dumps(record, indent=1, ensure_ascii=False) + "\n"), (files[1], render(record))):
        write_text(file, text)
    draw(record, files[2])
    return files


def _line(cell: dict[str, Any]) -> str:
    from pipeline.bench.ratios import seconds, summary
    from pipeline.bench.table import number

    shown = []
    for name, outcome in cell["rivals"].items():
        figure = summary(seconds(cell, name))
        shown.append(f"{name} {number(1000 * figure.median)} ms" if figure else f"{name} {outcome['status']}")
    return f"{cell['kind']}, {cell['qubits']} qubits, batch {cell['batch']}: {', '.join(shown)}"


def _merged(versions: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: version for libraries in versions.values() for name, version in libraries.items()}


def _progress(text: str) -> None:
    """Show what is going on, where there is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
