"""What the project set out to reach, and what a benchmark says of it.

In: the record of a benchmark. Out: a row a target, as ``bench.json`` holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.bench.entrants import OURS, PAPER
from pipeline.bench.ratios import Figure, fastest, find_cell, paired_ratio, seconds, summary
from pipeline.quantum.adjoint import KEEP

C_BYTES = 16
MEMORY_QUBITS = 16


@dataclass(frozen=True)
class Row:
    """A target and how it came out.

    Attributes:
        what: What was measured.
        target: The bound on the figure.
        at_most: Whether the figure must be at most the target; at least otherwise.
        figure: The median.
        lower: The lower quartile.
        upper: The upper quartile.
        met: Whether the target is met; None where there is no figure.
    """

    what: str
    target: float
    at_most: bool
    figure: float | None = None
    lower: float | None = None
    upper: float | None = None
    met: bool | None = None


def target_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All targets that this record could tell of: those of the peers if they took part, the others if not."""
    rows = _peer_rows(record) if record["peers"] else _rows(record)
    return [asdict(row) for row in rows]


def _rows(record: Mapping[str, Any]) -> Iterator[Row]:
    def ratio(kind: str, qubits: int, batch: int, above: str, below: str) -> Figure | None:
        cell = find_cell(record, kind, qubits, batch)
        return paired_ratio(seconds(cell, above), seconds(cell, below))

    for batch, target in ((4, 1.5), (32, 1.6), (256, 2.5)):
        figure = ratio("step", 4, batch, "ours_lightning", "floor")
        yield _row(f"step over the floor, 4 qubits, batch {batch}", target, True, figure)
        figure = ratio("step", 4, batch, "ours_lightning_module", "floor")
        yield _row(f"the same in an ordinary PyTorch loop, batch {batch}", target, True, figure)
    for qubits, batch, lightning, default in (
        (4, 4, 80, 70),
        (4, 32, 200, 40),
        (4, 256, 900, 25),
        (8, 32, 120, 50),
        (12, 32, 25, 14),
        (16, 4, 15, 25),
    ):
        for rival, label, target in (
            ("lightning_qubit", "lightning.qubit adjoint", lightning),
            ("default_qubit", "default.qubit backprop", default),
        ):
            figure = ratio("circuit", qubits, batch, rival, "ours_lightning")
            yield _row(f"circuit: times faster than {label}, {qubits} qubits, batch {batch}", target, False, figure)
    for qubits, batch in ((4, 4), (4, 32), (4, 256), (8, 32), (12, 32)):
        figure = ratio("step", qubits, batch, "ours_lightning_forward", "ours_lightning")
        yield _row(f"evaluation over training step, {qubits} qubits, batch {batch}", 0.4, True, figure)
    figure = ratio("step", *PAPER, "ours_100_heads", "ours_lightning")
    yield _row("a step of 100 heads together over that of one", 3, True, figure)

    peaks = {
        batch: _bytes(find_cell(record, "circuit", MEMORY_QUBITS, batch), "ours_lightning") for batch in (4, 32, 256)
    }
    # A slice of a batch: the samples whose states are kept for the backward pass; those of further ones are made again.
    one = C_BYTES * KEEP
    figure = None if peaks[32] is None else _exact(peaks[32] / one)
    yield _row(f"peak memory in slices of {one / 2**20:.0f} MiB, 16 qubits, batch 32", 3, True, figure)
    figure = None if peaks[4] is None or peaks[256] is None else _exact((peaks[256] - peaks[4]) / one)
    yield _row("its growth from batch 4 to 256, in slices", 1, True, figure)

    for run in record["training"]:
        if run["name"] == "train":
            yield _row("seconds from process start to saved head, 30 epochs", 6, True, summary(run["wall_seconds"]))
            yield _row("seconds of training in it", 1.2, True, summary(run["training_seconds"]))


def _peer_rows(record: Mapping[str, Any]) -> Iterator[Row]:
    for qubits in (4, 8, 12):
        for batch in (4, 32, 256):
            cell = find_cell(record, "step", qubits, batch)
            best = fastest(cell, OURS)
            figure = paired_ratio(seconds(cell, best), seconds(cell, "tensorcircuit")) if best else None
            target = 1.0 if qubits < 8 else 0.6
            name = f" ({best.removeprefix('ours_')})" if best else ""
            yield _row(f"step over TensorCircuit-NG's, {qubits} qubits, batch {batch}{name}", target, True, figure)
    cell = find_cell(record, "step", *PAPER)
    each = [value / 100 for value in seconds(cell, "ours_100_heads")]
    figure = paired_ratio(each, seconds(cell, "jax_dense_scan"))
    yield _row("a step of one of 100 heads over one of the JAX scan", 1, True, figure)


def _row(what: str, target: float, at_most: bool, figure: Figure | None) -> Row:
    if figure is None:
        return Row(what, target, at_most)
    met = figure.median <= target if at_most else figure.median >= target
    return Row(what, target, at_most, figure.median, figure.lower, figure.upper, met)


def _exact(value: float) -> Figure:
    return Figure(value, value, value)


def _bytes(cell: Mapping[str, Any] | None, rival: str) -> int | None:
    return cell["rivals"][rival]["bytes"] if cell is not None and rival in cell["rivals"] else None
