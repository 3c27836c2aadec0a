"""The picture of a benchmark: milliseconds by batch, a panel a number of qubits, a row a kind of work.

In: the record of a benchmark, as ``bench.json`` holds it. Out: a PNG file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from features.util.files import write_atomically
from pipeline.bench.entrants import LABELS
from pipeline.bench.ratios import seconds, summary

# Hues that stay apart for colour-blind readers (Okabe and Ito, 2008); markers and dashes tell them apart without any.
STYLES: dict[str, dict[str, Any]] = {
    "demo_loop": {"color": "#CC79A7", "marker": "s", "linestyle": ":"},
    "lightning_qubit": {"color": "#E69F00", "marker": "^", "linestyle": "--"},
    "default_qubit": {"color": "#56B4E9", "marker": "v", "linestyle": "--"},
    "tensorcircuit": {"color": "#E69F00", "marker": "^", "linestyle": "--"},
    "jax_dense": {"color": "#56B4E9", "marker": "v", "linestyle": "--"},
    "jax_dense_scan": {"color": "#CC79A7", "marker": "s", "linestyle": ":"},
    "ours_lightning": {"color": "#0072B2", "marker": "o", "linestyle": "-", "linewidth": 2.4},
    "ours_lightning_module": {"color": "#0072B2", "marker": "o", "linestyle": ":", "markerfacecolor": "white"},
    "ours_dense": {"color": "#D55E00", "marker": "D", "linestyle": "-", "linewidth": 2.4},
    "floor": {"color": "black", "marker": "x", "linestyle": "-."},
}
KINDS = {"circuit": "circuit, forward and backward", "step": "whole training step"}


def draw(record: Mapping[str, Any], file: Path) -> None:
    """Draw the timed cells of a record; nothing where there are none."""
    kinds = [kind for kind in KINDS if any(cell["kind"] == kind for cell in record["cells"])]
    qubits = sorted({cell["qubits"] for cell in record["cells"]})
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
            _panel(axis, record, kind, n, handles)
        row[0].set_ylabel(f"{KINDS[kind]}\nmilliseconds")
    names = [name for name in LABELS if name in handles]
    figure.legend(
        [handles[name] for name in names],
        [LABELS[name] for name in names],
        loc="outside lower center",
        ncols=3 if len(qubits) > 2 else 2,
        frameon=False,
    )
    write_atomically(file, lambda part: figure.savefig(part, format="png", dpi=130))
    plt.close(figure)


def _panel(axis: Axes, record: Mapping[str, Any], kind: str, qubits: int, handles: dict[str, Any]) -> None:
    cells = sorted(
        (cell for cell in record["cells"] if (cell["kind"], cell["qubits"]) == (kind, qubits)),
        key=lambda cell: cell["batch"],
    )
    for name, style in STYLES.items():
        points = [(cell["batch"], figure) for cell in cells if (figure := summary(seconds(cell, name))) is not None]
        if points:
            median = [1000 * figure.median for _, figure in points]
            below = [1000 * (figure.median - figure.lower) for _, figure in points]
            above = [1000 * (figure.upper - figure.median) for _, figure in points]
            batches = [batch for batch, _ in points]
            bars = axis.errorbar(batches, median, yerr=[below, above], markersize=5, elinewidth=1, **style)
            handles.setdefault(name, bars)
    axis.set(xscale="log", yscale="log")
    batches = [cell["batch"] for cell in cells]
    axis.set_xticks(batches, [str(batch) for batch in batches])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)
