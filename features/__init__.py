"""Stage 1: run the frozen backbone once over a data set and cache its features to HDF5.

Public names: :func:`make_features`, :func:`make_layers`, :class:`ExtractConfig`, :func:`load_features`,
:class:`FeatureSet`. Each is loaded when it is first used, so that importing a small module of this package does not
import torch or h5py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from features.cache.featureset import FeatureSet
    from features.cache.store import read_features as load_features
    from features.config import ExtractConfig
    from features.extract import make_features, make_layers

__all__ = ["ExtractConfig", "FeatureSet", "load_features", "make_features", "make_layers"]

_PLACES = {
    "ExtractConfig": "features.config:ExtractConfig",
    "FeatureSet": "features.cache.featureset:FeatureSet",
    "load_features": "features.cache.store:read_features",
    "make_features": "features.extract:make_features",
    "make_layers": "features.extract:make_layers",
}


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module 'features' has no attribute {name!r}")
    module, attribute = _PLACES[name].split(":")
    return getattr(import_module(module), attribute)
