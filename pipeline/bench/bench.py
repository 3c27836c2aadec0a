"""The benchmarks: the race of the head and its rivals, and the timing of whole stages.

In: a :class:`pipeline.bench.config.BenchConfig`. Out: in its folder, every sample as JSON, the tables as Markdown, and
a plot.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from features.util.errors import InputError, did_you_mean
from features.util.files import write_text
from pipeline.bench.config import BenchConfig
from pipeline.bench.environment import LEFT_OUT, machine, make_peers_environment
from pipeline.bench.plot import draw
from pipeline.bench.quartiles import number
from pipeline.bench.race.entrants import own_entrants, peer_entrants, reference
from pipeline.bench.race.outcome import Cell
from pipeline.bench.race.race import Race
from pipeline.bench.race.rival import Entrant
from pipeline.bench.race.worker import ANY_CIRCUIT, Work
from pipeline.bench.results import EXAMPLES, Results, is_figure
from pipeline.bench.stages import extraction, hybrid, streaming
from pipeline.bench.stages.wholerun import time_training
from pipeline.bench.table import render
from pipeline.bench.targets import Target, judge, read_targets

CELLS = {
    "rot": ((4, 4), (4, 32), (4, 256), (8, 32), (12, 32)),
    "reuploading": ((4, 4), (4, 32), (4, 256), (8, 32)),
    "strongly_entangling": ((8, 32),),
}
"""Qubits and batch of the circuits other than the paper's."""
DEPTHS = {"rot": 6, "reuploading": 6, "strongly_entangling": 3}
STAGES: dict[str, ModuleType] = {"extraction": extraction, "hybrid": hybrid, "streaming": streaming}
"""What times a stage, by the flag that asks for it."""
LARGEST_PEER = 8
"""Qubits up to which the peers take part in these: at 12, TensorCircuit-NG compiles for more than five minutes."""


def bench(config: BenchConfig) -> None:
    """Run the benchmark that the flags name, and print its tables.

    Raises:
        InputError: If a flag or the machine does not allow it.
        SystemExit: With exit code 1, if a rival's results are wrong.
        KeyboardInterrupt: At Ctrl-C, after the finished work is written.
    """
    if config.extraction or config.hybrid or config.streaming:
        time_stage(config)
        return
    results = race(config)
    wrong = {name for cell in results.cells for name, outcome in cell.outcomes.items() if outcome.status == "wrong"}
    if wrong:
        print(f"wrong results: {', '.join(sorted(wrong))}; see the end of the tables", file=sys.stderr)
        sys.exit(1)


def time_stage(config: BenchConfig) -> None:
    """Time one stage; leaves ``extraction.json``, ``hybrid.json`` or ``streaming.json``, and ``….md``, in ``out``."""
    name, stage = next((name, stage) for name, stage in STAGES.items() if getattr(config, name))
    targets = read_targets(config.targets, name, stage.FIGURES.__contains__, stage.FIGURES)
    repeats = 2 if config.quick else config.repeats
    times: extraction.ExtractionTimes | hybrid.HybridTimes | streaming.StreamingTimes
    if config.extraction:
        times = extraction.bench_extraction(config.data, config.weights, repeats, config.quick, targets, config.device)
    elif config.hybrid:
        times = hybrid.bench_hybrid(config.weights, repeats, config.quick, targets)
    else:
        times = streaming.bench_streaming(config.out, repeats, config.quick, targets)
    text = stage.render(times)
    config.out.mkdir(parents=True, exist_ok=True)
    files = [config.out / f"{name}.json", config.out / f"{name}.md"]
    write_text(files[0], json.dumps(asdict(times), indent=1) + "\n")
    write_text(files[1], text + "\n")
    print(f"{text}\n\n{files[0]}: every sample; tables in {files[1].name}")


def race(config: BenchConfig) -> Results:
    """Race the head against its rivals, and save the results in ``config.out`` after every piece of work."""
    targets = read_targets(config.targets, "peers" if config.peers else "race", is_figure, EXAMPLES)
    repeats, epochs, runs = (2, 1, 1) if config.quick else (config.repeats, 30, 5)
    results = Results(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        repeats=repeats,
        machine=machine(),
        left_out=LEFT_OUT if config.peers else {},
    )
    entrants = _entrants(config)
    config.out.mkdir(parents=True, exist_ok=True)
    try:
        with Race(entrants, reference(), repeats, config.limit, config.threads) as rivals:
            for work in _works(config):
                try:
                    cell = rivals.run(work, _progress)
                finally:
                    results.cells = rivals.cells
                    results.versions = rivals.versions
                    _write(results, targets)
                _progress("")
                print(_line(cell), flush=True)
        if not config.peers and "step" in config.kinds:
            _progress("training on the packaged features")
            results.training = time_training(epochs, runs)
            _progress("")
        results.complete = True
    except KeyboardInterrupt:
        _progress("")
        raise KeyboardInterrupt(f"stopped; what is done is in {_write(results, targets)[0]}") from None
    files = _write(results, targets)
    print(f"\n{files[1].read_text(encoding='utf-8')}")
    print(f"{files[0]}: every sample; tables in {files[1].name}, plot in {files[2].name}")
    return results


def _entrants(config: BenchConfig) -> list[Entrant]:
    """Those that ``--rivals`` names, or all of them."""
    entrants = peer_entrants(make_peers_environment()) if config.peers else own_entrants()
    names = [entrant.name for entrant in entrants]
    for name in config.rivals:
        if name not in names:
            raise InputError(f"--rivals has {name}; choose of {', '.join(names)}{did_you_mean(name, names)}")
    return [entrant for entrant in entrants if not config.rivals or entrant.name in config.rivals]


def _works(config: BenchConfig) -> Iterator[Work]:
    qubits, batches = ((2,), (2, 3)) if config.quick else (config.qubits, config.batches)
    for kind in ("circuit", "step"):
        if kind in config.kinds and not (config.peers and kind == "circuit"):
            for n in sorted(qubits):
                for batch in sorted(batches):
                    yield Work(kind, n, batch, config.depth)
    for kind in (kind for kind in ANY_CIRCUIT if kind in config.kinds):
        for n, batch in ((2, 3),) if config.quick else CELLS[kind]:
            if n <= LARGEST_PEER or not config.peers:
                yield Work(kind, n, batch, DEPTHS[kind])


def _write(results: Results, targets: list[Target]) -> list[Path]:
    """Write record, tables and plot, each whole or not at all."""
    results.targets = judge(targets, results.figure)
    name = "peers" if results.config.peers else "bench"
    files = [results.config.out / f"{name}.{ending}" for ending in ("json", "md", "png")]
    write_text(files[0], json.dumps(results.record(), indent=1, ensure_ascii=False) + "\n")
    write_text(files[1], render(results))
    draw(results, files[2])
    return files


def _line(cell: Cell) -> str:
    shown = [
        f"{name} {number(1000 * time.median)} ms" if (time := cell.time(name)) else f"{name} {outcome.status}"
        for name, outcome in cell.outcomes.items()
    ]
    return f"{cell.work.kind}, {cell.work.qubits} qubits, batch {cell.work.batch}: {', '.join(shown)}"


def _progress(text: str) -> None:
    """Show the progress, where there is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
