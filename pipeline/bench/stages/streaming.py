"""Stage 2 on rows from the disk against rows in memory: the same steps, on generated data sets of growing size.

In: sizes. Out: :class:`StreamingTimes`, and its tables. Each sample is one epoch in a process of its own, through
``Training`` itself; before it, the system forgets the files, so that a stream reads from the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from features.cache.records import Provenance, Shard
from features.cache.store import shard_files, verify_features
from features.cache.writer import FeatureWriter
from features.util.errors import InputError
from features.util.memory import free_memory, gigabytes
from pipeline.bench.quartiles import Quartiles, number, paired_ratio, quartiles, with_quartiles
from pipeline.bench.race.rival import ROOT
from pipeline.bench.stages.materials import peak_of_this_process
from pipeline.bench.stages.times import StageTimes, page
from pipeline.bench.targets import Reached, Target, judge
from pipeline.training.config import TrainConfig
from pipeline.util.markdown import markdown

SIZES, QUICK_SIZES = (100_000, 1_000_000, 10_000_000), (2_000, 6_000)
WIDTH, BATCH, DTYPE = 512, 256, "float16"
SHARD_ROWS = 500_000
RIVALS = {
    "memory": "in memory",
    "stream": "from the disk",
}
RATIO, MEMORY = "one epoch: stream / memory", "peak memory: stream, GB"
FLAT = "rows a second: stream, largest / smallest"
FIGURES = (RATIO, MEMORY, FLAT)
"""What targets can bound."""


@dataclass(frozen=True, kw_only=True)
class StreamingTimes(StageTimes):
    """What ``streaming.json`` holds.

    Attributes:
        width, dtype, batch: Of the rows, and of a step.
        seconds_a_row: Of an epoch, by size and rival, in each round; of ``memory`` where the rows fit.
        peak_memory_bytes: The largest of all rounds, by size and rival.
        disk_bytes_a_second: Of plain reading of the largest set, in each round.
        seal_bytes_a_second: Of verifying it.
        targets: Bounds on the figures, and what was reached.
    """

    width: int
    dtype: str
    batch: int
    seconds_a_row: dict[int, dict[str, list[float]]]
    peak_memory_bytes: dict[int, dict[str, int]]
    disk_bytes_a_second: list[float]
    seal_bytes_a_second: list[float]
    targets: list[Reached]


def bench_streaming(out: Path, repeats: int, quick: bool, targets: Sequence[Target] = ()) -> StreamingTimes:
    """Generate the data sets below ``out``, race the rivals in turns, and delete the data sets.

    Raises:
        InputError: if the disk has too little space for the data sets.
    """
    sizes = QUICK_SIZES if quick else SIZES
    out.mkdir(parents=True, exist_ok=True)
    needed, there = 1.1 * sum(sizes) * (WIDTH * np.dtype(DTYPE).itemsize + 60), shutil.disk_usage(out).free
    if needed > there:
        raise InputError(
            f"--streaming writes {gigabytes(needed)} below --out {out}, where {gigabytes(there)} are free; name another"
        )
    seconds: dict[int, dict[str, list[float]]] = {size: {} for size in sizes}
    peaks: dict[int, dict[str, int]] = {size: {} for size in sizes}
    disk, seal = [], []
    with tempfile.TemporaryDirectory(dir=out) as folder:
        sets = {size: generate(Path(folder) / str(size), size) for size in sizes}
        fitting = [size for size in sizes if 3 * 4 * WIDTH * size < free_memory()]
        for _ in range(repeats):
            for size, rows in sets.items():
                for rival in RIVALS if size in fitting else ("stream",):
                    found = _epoch(rows, rival)
                    seconds[size].setdefault(rival, []).append(found["seconds"] / size)
                    peaks[size][rival] = max(int(found["peak"]), peaks[size].get(rival, 0))
            disk.append(found["disk"])
            seal.append(found["seal"])
    return StreamingTimes(
        width=WIDTH,
        dtype=DTYPE,
        batch=BATCH,
        seconds_a_row=seconds,
        peak_memory_bytes=peaks,
        disk_bytes_a_second=disk,
        seal_bytes_a_second=seal,
        targets=judge(targets, _figures(seconds, peaks).__getitem__),
    )


def render(times: StreamingTimes) -> str:
    """The tables, as Markdown."""
    rows = [["rows", "where", "rows a second", "MB a second", "peak memory, GB", "over memory (quartiles)"]]
    memory = _in_memory(times.seconds_a_row)
    row_bytes = times.width * np.dtype(times.dtype).itemsize
    for size, rivals in times.seconds_a_row.items():
        for rival, samples in rivals.items():
            figure, ratio = quartiles(samples), paired_ratio(samples, rivals.get("memory", memory))
            assert figure is not None
            assert ratio is not None
            streamed = number(row_bytes / figure.median / 1e6) if rival == "stream" else ""
            peak = number(times.peak_memory_bytes[size][rival] / 1e9)
            rows.append(
                [f"{size:,}", RIVALS[rival], f"{1 / figure.median:,.0f}", streamed, peak, with_quartiles(ratio)]
            )
    disk, seal = (quartiles(samples) for samples in (times.disk_bytes_a_second, times.seal_bytes_a_second))
    assert disk is not None
    assert seal is not None
    parts = [
        f"Stage 2: one epoch of the paper's head, batch {times.batch}, rows of {times.width} {times.dtype}; "
        f"{times.machine.processor}, {times.machine.cores} cores. Medians of {len(times.disk_bytes_a_second)} rounds, "
        "in which the rivals took turns; ratios round by round, where rows don't fit into memory to those of the "
        "largest set that does. Before each epoch the system forgets the files.",
        markdown(rows),
        f"Reading the largest set alone, in order: {number(disk.median / 1e6)} MB a second. Verifying it, before the "
        f"first epoch: {number(seal.median / 1e6)} MB a second. Peak memory is the process's own, libraries included; "
        "what the system keeps of files in free memory is not in it.",
    ]
    return page(parts, times.targets)


def generate(folder: Path, rows: int) -> Path:
    """Write a data set of two classes in shards, and a thousandth as many validation rows; returns its pattern."""
    from tqdm import tqdm

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    centre = rng.normal(0, 0.1, WIDTH)
    pool = rng.normal(0, 1, (8192, WIDTH)).astype(np.float32)
    labels = np.arange(len(pool)) % 2
    pool = (pool + (2 * labels[:, None] - 1) * centre).astype(DTYPE)
    shards = [("train", start, min(start + SHARD_ROWS, rows)) for start in range(0, rows, SHARD_ROWS)]
    shards.append(("val", 0, max(1000, rows // 1000)))
    for index, (split, start, stop) in enumerate(tqdm(shards, unit="shard", desc=f"{rows:,} rows", disable=None)):
        n = stop - start
        file = folder / f"rows-{index:05}-of-{len(shards):05}.h5"
        names = [f"{split}/{row:09}" for row in range(start, stop)]
        with FeatureWriter(file, {split: names}, {split: np.resize(labels, n)}, WIDTH, dtype=DTYPE) as writer:
            for first in range(0, n, len(pool)):
                # Whole rows shifted by an even number keep their labels; no two stretches are the same.
                part = np.roll(pool, -2 * (index + first // len(pool)), axis=0)[: n - first]
                writer.write(split, first, part)
            writer.finish(replace(_PROVENANCE, shard=Shard(index=index, of=len(shards))))
    return folder / "rows-*.h5"


_PROVENANCE = Provenance(
    classes=("one", "other"),
    backbone="",
    weights="",
    weights_sha256="",
    transform="{}",
    data="generated",
    images_sha256="",
    data_location="",
    weights_location="",
    versions={},
    created="",
    dtype=DTYPE,
)


def _epoch(rows: Path, rival: str) -> dict[str, float]:
    """One epoch in a process of its own: its seconds, peak memory, and how fast the disk and the seal are."""
    words = [sys.executable, "-m", "pipeline.bench.stages.streaming", str(rows), rival]
    finished = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise InputError(f"an epoch on {rows} failed:\n{finished.stderr.strip()}")
    found: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _in_memory(seconds: dict[int, dict[str, list[float]]]) -> list[float]:
    """Seconds a row of the largest set that fits into memory."""
    return next((rivals["memory"] for rivals in reversed(seconds.values()) if "memory" in rivals), [])


def _figures(
    seconds: dict[int, dict[str, list[float]]], peaks: dict[int, dict[str, int]]
) -> dict[str, Quartiles | None]:
    """What targets can bound, by the names in ``FIGURES``."""
    smallest, largest = min(seconds), max(seconds)
    peak = peaks[largest]["stream"] / 1e9
    return {
        RATIO: paired_ratio(seconds[largest]["stream"], _in_memory(seconds)),
        MEMORY: Quartiles(peak, peak, peak),
        FLAT: paired_ratio(seconds[smallest]["stream"], seconds[largest]["stream"]),
    }


def _forget(rows: Path) -> None:
    """Drop the system's copies of files, where it can be told to."""
    for file in shard_files(rows):
        descriptor = os.open(file, os.O_RDONLY)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _measure(rows: Path, rival: str) -> dict[str, float]:
    import time

    import torch

    from pipeline.training.epochs import Training, one_thread, train_step
    from pipeline.training.loop import untrained
    from pipeline.training.optimizer import Adam
    from pipeline.training.samples import open_rows

    size = sum(file.stat().st_size for file in shard_files(rows))
    found = {"disk": 0.0}
    if rival == "stream":
        _forget(rows)
        started = time.perf_counter()
        for path in shard_files(rows):
            with path.open("rb", buffering=0) as file:
                buffer = bytearray(1 << 20)
                while file.readinto(buffer):
                    pass
        found["disk"] = size / (time.perf_counter() - started)
    started = time.perf_counter()
    features = verify_features(rows)
    found["seal"] = size / (time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        limit = {"stream": 1e-9, "memory": 1e9}[rival]
        config = TrainConfig(features=rows, out=Path(folder), epochs=1, batch=BATCH, memory_limit=limit)
        source = open_rows(config, features)
        _forget(rows)
        head = untrained(config, WIDTH, 2)
        training = Training(config, head, features, Path(folder), source.order)
        with one_thread():
            trial = untrained(config, WIDTH, 2)  # the first step of a process compiles the circuit
            train_step(trial, Adam(trial, lr=config.lr), torch.zeros(BATCH, WIDTH), torch.zeros(BATCH).long())
            [record] = training.epochs(source)
    return found | {"seconds": record.seconds, "peak": peak_of_this_process()}


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2])))
