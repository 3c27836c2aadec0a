"""The picture of a race: milliseconds by batch, a panel a number of qubits, a row a kind of work.

In: :class:`pipeline.bench.results.Results`. Out: a PNG file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from pipeline.bench.race.entrants import LABELS
from pipeline.bench.results import Results
from pipeline.util.drawing import AMBER, BLUE, ORANGE, PURPLE, SKY, save_png

STYLES: dict[str, dict[str, Any]] = {
    "demo_loop": {"color": PURPLE, "marker": "s", "linestyle": ":"},
    "lightning_qubit": {"color": AMBER, "marker": "^", "linestyle": "--"},
    "default_qubit": {"color": SKY, "marker": "v", "linestyle": "--"},
    "tensorcircuit": {"color": AMBER, "marker": "^", "linestyle": "--"},
    "jax_dense": {"color": SKY, "marker": "v", "linestyle": "--"},
    "jax_dense_scan": {"color": PURPLE, "marker": "s", "linestyle": ":"},
    "ours_lightning": {"color": BLUE, "marker": "o", "linestyle": "-", "linewidth": 2.4},
    "ours_lightning_module": {"color": BLUE, "marker": "o", "linestyle": ":", "markerfacecolor": "white"},
    "ours_dense": {"color": ORANGE, "marker": "D", "linestyle": "-", "linewidth": 2.4},
    "floor": {"color": "black", "marker": "x", "linestyle": "-."},
}
KINDS = {"circuit": "circuit, forward and backward", "step": "whole training step"}


def draw(results: Results, file: Path) -> None:
    """Draw the timed cells; nothing where there are none."""
    kinds = [kind for kind in KINDS if any(cell.work.kind == kind for cell in results.cells)]
    qubits = sorted({cell.work.qubits for cell in results.cells if cell.work.kind in kinds})
    if not kinds:
        return
    plt.switch_backend("agg")
    size = (max(6.0, 3.1 * len(qubits)), 1.3 + 3.0 * len(kinds))
    figure, axes = plt.subplots(
        len(kinds), len(qubits), figsize=size, sharey="row", squeeze=False, layout="constrained"
    )
    handles: dict[str, Any] = {}
    for axis, n in zip(axes[0], qubits, strict=True):
        axis.set_title(f"{n} qubits")
    for axis in axes[-1]:
        axis.set_xlabel("batch")
    for row, kind in zip(axes, kinds, strict=True):
        for axis, n in zip(row, qubits, strict=True):
            _panel(axis, results, kind, n, handles)
        row[0].set_ylabel(f"{KINDS[kind]}\nmilliseconds")
    names = [name for name in LABELS if name in handles]
    figure.legend(
        [handles[name] for name in names],
        [LABELS[name] for name in names],
        loc="outside lower center",
        ncols=3 if len(qubits) > 2 else 2,
        frameon=False,
    )
    save_png(figure, file, dpi=130)


def _panel(axis: Axes, results: Results, kind: str, qubits: int, handles: dict[str, Any]) -> None:
    cells = sorted(
        (cell for cell in results.cells if (cell.work.kind, cell.work.qubits) == (kind, qubits)),
        key=lambda cell: cell.work.batch,
    )
    for name, style in STYLES.items():
        points = [(cell.work.batch, time) for cell in cells if (time := cell.time(name)) is not None]
        if points:
            median = [1000 * time.median for _, time in points]
            below = [1000 * (time.median - time.lower) for _, time in points]
            above = [1000 * (time.upper - time.median) for _, time in points]
            batches = [batch for batch, _ in points]
            bars = axis.errorbar(batches, median, yerr=[below, above], markersize=5, elinewidth=1, **style)
            handles.setdefault(name, bars)
    axis.set(xscale="log", yscale="log")
    batches = [cell.work.batch for cell in cells]
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)
