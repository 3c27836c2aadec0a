"""A figure from random draws, with its standard error; and the draws themselves."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A figure that draws estimate.

    Attributes:
        value: The estimate.
        error: Its standard error: how far other draws of the same number would typically lie from the truth.
    """

    value: float
    error: float

    @classmethod
    def mean(cls, draws: np.ndarray) -> Sampled:
        """The mean of independent draws, of shape (n,)."""
        return cls(value=float(draws.mean()), error=float(draws.std(ddof=1) / np.sqrt(len(draws))))


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers of one figure: they depend on its names alone, not on what else is computed."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])
