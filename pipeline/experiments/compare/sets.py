"""The data sets of a comparison: caches, and sets that ship with scikit-learn.

In: a ``CompareConfig``. Out: the features of each set, by a short name.
"""

from __future__ import annotations

from pathlib import Path

from features.cache.featureset import FeatureSet
from features.cache.store import read_features
from features.config import ImportConfig
from features.exchange.bundled import PREFIX
from features.exchange.importer import import_features
from features.util.errors import InputError
from pipeline.experiments.compare.config import CompareConfig
from pipeline.training.folder import make_folder

HELD_OUT = 0.2
"""Share of each class that is the published validation split of a set without one."""


def open_sets(config: CompareConfig) -> dict[str, FeatureSet]:
    """The features of all sets, those of ``--features`` first.

    Raises:
        InputError: If one can't be read, or two are the same.
    """
    found: dict[str, FeatureSet] = {}
    for place in (config.features, *config.sets):
        features = read_features(_bundled(place, config.out) if _is_bundled(place) else place)
        if any(features.content_sha256 == other.content_sha256 for other in found.values()):
            raise InputError(f"--sets: {place} holds the same rows as one before it; name each set once")
        name = Path(features.provenance.data).name or str(place)
        found[name if name not in found else str(place)] = features
    return found


def _is_bundled(place: Path) -> bool:
    return str(place).startswith(PREFIX)


def _bundled(place: Path, out: Path) -> Path:
    """The cache of a set that ships with scikit-learn, its columns scaled to one unit: made if it is not there."""
    folder = out / "sets"
    make_folder(folder)
    cache = folder / f"{str(place).removeprefix(PREFIX)}.h5"
    return import_features(ImportConfig(file=place, out=cache, split=HELD_OUT, standardize=True)).path
