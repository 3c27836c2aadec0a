"""Who takes part in the benchmark, under which name, and who is its reference."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.bench.race.rival import Entrant
from pipeline.bench.race.worker import ANY_CIRCUIT

LABELS = {
    "demo_loop": "demo's loop over samples, default.qubit",
    "lightning_qubit": "lightning.qubit, adjoint, broadcast",
    "lightning_vjp": "lightning.qubit, adjoint, broadcast, device_vjp",
    "default_qubit": "default.qubit, backprop, broadcast",
    "tensorcircuit": "TensorCircuit-NG, jax.jit",
    "fastqml": "fastQML, eager torch",
    "jax_dense": "by hand in JAX, jax.jit",
    "jax_dense_scan": "by hand in JAX, an epoch in one scan",
    "ours_lightning": "ours, lightning",
    "ours_lightning_single": "ours, lightning in complex64",
    "ours_lightning_module": "ours, lightning, in an ordinary PyTorch loop",
    "ours_dense": "ours, dense",
    "ours_lightning_forward": "ours, lightning, evaluation",
    "ours_dense_forward": "ours, dense, evaluation",
    "ours_100_heads": "ours, 100 heads together",
    "floor": "circuit removed (floor)",
}
"""What each is called where there is room, in the order of tables and legends."""
OURS = ("ours_lightning", "ours_dense")
OTHER_WORK = ("ours_lightning_forward", "ours_dense_forward", "ours_100_heads")
"""Those that do less, or more, than the others."""
EVERY_KIND = ("circuit", "step", *ANY_CIRCUIT)
PAPER = (4, 4)
"""The paper's qubits and batch."""


def reference() -> Entrant:
    """The circuit as an ordinary QNode, in float64."""
    return _own("reference")


def own_entrants() -> list[Entrant]:
    """PennyLane's ways, ours, and the floor."""
    return [
        _own("demo_loop"),
        _own("lightning_qubit"),
        _own("lightning_vjp"),
        _own("default_qubit", kinds=EVERY_KIND),
        _own("ours_lightning", kinds=EVERY_KIND),
        _own("ours_lightning_single", kinds=EVERY_KIND),
        _own("ours_lightning_module", kinds=("step",)),
        _own("ours_dense"),
        _own("ours_lightning_forward", kinds=("step",)),
        _own("ours_dense_forward", kinds=("step",)),
        _own("ours_100_heads", kinds=("step",), cells=(PAPER,)),
        _own("floor", kinds=("step",), checked=False),
    ]


def peer_entrants(python: Path) -> list[Entrant]:
    """The peers, which run under the interpreter ``python``, with ours and the floor."""
    script = str(Path(__file__).with_name("peers.py"))
    kinds = {"tensorcircuit": ("step", *ANY_CIRCUIT), "jax_dense": ("step",), "jax_dense_scan": ("step",)}
    peers = [Entrant(name, (str(python), script, name), kinds[name]) for name in kinds]
    ours = ("ours_lightning", "ours_lightning_single", "ours_dense", "ours_100_heads", "floor")
    peers.append(_own("fastqml", kinds=ANY_CIRCUIT))
    return peers + [entrant for entrant in own_entrants() if entrant.name in ours]


def _own(
    name: str,
    kinds: tuple[str, ...] = ("circuit", "step"),
    checked: bool = True,
    cells: tuple[tuple[int, int], ...] | None = None,
) -> Entrant:
    return Entrant(name, (sys.executable, "-m", "pipeline.bench.race.rivals", name), kinds, checked, cells)
