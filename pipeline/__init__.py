"""Stages 2 and 3: train the dressed quantum network on cached features, then reattach it to its backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.heads.dressed import DressedQuantumNet
    from pipeline.inference.hybrid import HybridClassifier
    from pipeline.quantum.torch_layer import TorchLayer

__all__ = ["DressedQuantumNet", "HybridClassifier", "TorchLayer"]


def __getattr__(name: str) -> Any:
    # On first use only: torch and PennyLane take seconds to import, and a mistyped flag should not wait for them.
    if name == "DressedQuantumNet":
        from pipeline.heads.dressed import DressedQuantumNet

        return DressedQuantumNet
    if name == "HybridClassifier":
        from pipeline.inference.hybrid import HybridClassifier

        return HybridClassifier
    if name == "TorchLayer":
        from pipeline.quantum.torch_layer import TorchLayer

        return TorchLayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
