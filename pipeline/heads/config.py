"""Flags of ``heads``, which lists the heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from features.util.flags import Flags, at_least


@dataclass(frozen=True, kw_only=True)
class HeadsConfig(Flags):
    """Print all heads side by side: what they are made of, and how many parameters they train."""

    n_features: Annotated[int, at_least(1)] = 512
    """Features an image."""
    n_classes: Annotated[int, at_least(2)] = 2
    """Classes."""
    qubits: Annotated[int, at_least(1)] = 4
    """Wires of the circuit, and the width in its place."""
    depth: Annotated[int, at_least(0)] = 6
    """Variational layers of the circuit."""
