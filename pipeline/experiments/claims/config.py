"""Flags of ``claims``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from features.util.flags import Flags, at_least


@dataclass(frozen=True, kw_only=True)
class ClaimsConfig(Flags):
    """Put published statements about quantum heads to the test, on the data at hand.

    Each claim names its source, the data, two models, and the test that would support it. The verdict comes with the
    difference and its interval, what this study would have missed, and how often its test errs on simulated tables in
    which nothing differs. A claim whose data are not at hand is skipped, and the table says why. What is trained is
    kept: after Ctrl-C the same command goes on.

    Leaves in --out: claims.html (the table and a figure), claims.md, claims.png, claims.json, and blocks/.
    """

    features: Path = Path("out/features.h5")
    """The feature cache that stage 1 made, for claims about features of a ResNet."""
    vit: Path | None = None
    """A cache of a vision transformer's features: python -m features --backbone vit_b_16 --out out/vit.h5."""
    file: Path | None = None
    """A file of further claims, as pipeline/experiments/claims/catalogue.toml has them."""
    claims: tuple[str, ...] = ()
    """Only these claims, by name; all of them if none is given."""
    out: Path = Path("out/claims")
    """The folder to write."""
    seeds: Annotated[int, at_least(2)] = 20
    """Repetitions of everything, with seeds from --seed on."""
    folds: Annotated[int, at_least(2)] = 5
    """Folds of the stratified partition of all rows."""
    seed: Annotated[int, at_least(0)] = 42
    """The first seed."""
    simulations: Annotated[int, at_least(100)] = 400
    """Tables without a difference that are simulated for each test."""
    workers: Annotated[int, at_least(0)] = 0
    """Processes on this machine; 0 for as many as cores."""
