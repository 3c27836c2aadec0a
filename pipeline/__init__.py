"""Stages 2 and 3: train the dressed quantum network on cached features, then reattach it to its backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.heads import DressedQuantumNet

__all__ = ["DressedQuantumNet"]


def __getattr__(name: str) -> Any:
    # On first use only: torch and PennyLane take seconds to import, and a mistyped flag should not wait for them.
    if name in __all__:
        from pipeline import heads

        return getattr(heads, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
