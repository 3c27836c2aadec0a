"""Stages 2 and 3: train the dressed quantum network on cached features, then reattach it to its backbone.

Public names, which pipeline/README.md describes, are loaded when they are first used, because torch and PennyLane take
seconds to import, and a mistyped flag should not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.heads.dressed import DressedQuantumNet
    from pipeline.inference.hybrid import HybridClassifier
    from pipeline.quantum.torch_layer import TorchLayer
    from pipeline.training.config import TrainConfig
    from pipeline.training.estimator import QuantumHeadClassifier
    from pipeline.training.loop import train
    from pipeline.training.run import load_run

__all__ = [
    "DressedQuantumNet",
    "HybridClassifier",
    "QuantumHeadClassifier",
    "TorchLayer",
    "TrainConfig",
    "load_run",
    "train",
]

_PLACES = {
    "DressedQuantumNet": "pipeline.heads.dressed",
    "HybridClassifier": "pipeline.inference.hybrid",
    "QuantumHeadClassifier": "pipeline.training.estimator",
    "TorchLayer": "pipeline.quantum.torch_layer",
    "TrainConfig": "pipeline.training.config",
    "load_run": "pipeline.training.run",
    "train": "pipeline.training.loop",
}


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
