"""Records of a layer, of the runtime that was asked for, and of the one that ran; they need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from features.config import Device, Precision, Runtime


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer whose output the features are, in place of the network's own.

    Attributes:
        name: Its dotted name in the network, as its library has it.
        pooling: How its output becomes a row: ``mean`` over places or tokens, ``class token``, or ``none``.
    """

    name: str
    pooling: Literal["mean", "class token", "none"]

    def __str__(self) -> str:
        return self.name if self.pooling == "none" else f"{self.name} ({self.pooling})"


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """The runtime that was asked for, as the flags of the same names."""

    runtime: Runtime = "auto"
    device: Device = "auto"
    precision: Precision = "float32"


@dataclass(frozen=True, kw_only=True)
class RuntimeRecord:
    """What computed the features.

    Attributes:
        name: The library that ran the network, ``torch`` or ``onnxruntime``.
        version: Its version.
        device: ``cpu`` or ``cuda``.
        precision: Of its arithmetic: ``float32``, ``bfloat16`` or ``float16``.
        max_difference: The largest difference from torch's float32 on trial pictures; None where that is what ran.
        feature_scale: The largest feature of these pictures; None likewise.
    """

    name: str
    version: str = ""
    device: str = "cpu"
    precision: str = "float32"
    max_difference: float | None = None
    feature_scale: float | None = None

    def alike(self, other: RuntimeRecord | None) -> bool:
        """Whether another record is of the same library, version, device and precision: their features are the same
        bits."""
        same = ("name", "version", "device", "precision")
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in same)
