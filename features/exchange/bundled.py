"""Data sets that ship with scikit-learn, by name: rows of features without pictures, download or preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from features.exchange.table import Columns, Format, Table, sliced
from features.util.errors import InputError, did_you_mean

PREFIX = "sklearn:"
NAMES = ("breast_cancer", "digits", "iris", "wine")


def read_bundled(place: Path, _columns: Columns) -> Table:
    """The table of ``sklearn:NAME``.

    Raises:
        InputError: if there is no such set.
    """
    from sklearn import datasets

    name = str(place).removeprefix(PREFIX)
    if name not in NAMES:
        raise InputError(f"scikit-learn ships no {name}{did_you_mean(name, NAMES)}; it is one of {', '.join(NAMES)}")
    bunch = getattr(datasets, f"load_{name}")()
    return Table(
        width=bunch.data.shape[1],
        labels=bunch.target,
        ids=None,
        splits=None,
        classes=tuple(map(str, bunch.target_names)),
        blocks=lambda: sliced(bunch.data.astype(np.float32)),
    )


BUNDLED = Format(
    takes=f"{PREFIX}{NAMES[0]} (or {', '.join(NAMES[1:])})",
    claims=lambda place: str(place).startswith(PREFIX),
    read=read_bundled,
)
