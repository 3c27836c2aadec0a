"""Flags of ``heads``, which lists the heads."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.util.checks import below


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Print all heads side by side: what they are made of, and how many parameters they train."""

    n_features: int = 512
    """Features an image."""
    n_classes: int = 2
    """Classes."""
    qubits: int = 4
    """Wires of the circuit, and the width in its place."""
    depth: int = 6
    """Variational layers of the circuit."""

    def __post_init__(self) -> None:
        problems = below(self, n_features=1, n_classes=2, qubits=1, depth=0)
        if problems:
            raise ValueError("; ".join(problems))
