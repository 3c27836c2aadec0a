"""Stages 2 and 3: train the dressed quantum network on cached features, then reattach it to its backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.heads.dressed import DressedQuantumNet
    from pipeline.inference.hybrid import HybridClassifier

__all__ = ["DressedQuantumNet", "HybridClassifier"]


def __getattr__(name: str) -> Any:
    # On first use only: torch and PennyLane take seconds to import, and a mistyped flag should not wait for them.
    if name == "DressedQuantumNet":
        from pipeline.heads.dressed import DressedQuantumNet

        return DressedQuantumNet
    if name == "HybridClassifier":
        from pipeline.inference.hybrid import HybridClassifier

        return HybridClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
