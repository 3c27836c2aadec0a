"""Flags of ``paper``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from features.util.flags import Flags, at_least
from pipeline.experiments.paper.rows import ROWS

if TYPE_CHECKING:
    RowName = str
else:
    RowName = Literal[tuple(row.name for row in ROWS)]
"""The type of a flag that names a row."""


@dataclass(frozen=True, kw_only=True)
class PaperConfig(Flags):
    """Train every system of the paper (arXiv:1912.08278) and put its published number beside ours.

    Rows: cc, cq (classical and quantum heads on ants and bees), cats-dogs, planes-cars (CIFAR-10), spirals, shapes (the
    dressed circuit alone), qc, qq (a pretrained quantum network as feature extractor). A row whose data can't be had is
    skipped, and the table says why. A row that is done with the same settings is kept: after Ctrl-C the same command
    goes on.

    Leaves in --out: paper.html (the table with its pictures), paper.md, paper.json (every seed), paper.csv, pictures,
    and the feature caches that rows make: of CIFAR-10, and in states/ those of the quantum network.
    """

    features: Path = Path("out/features.h5")
    """The cached features of ants and bees that stage 1 made."""
    out: Path = Path("out/paper")
    """The folder to write."""
    rows: tuple[RowName, ...] = ()
    """Only these rows; all of them if none is given."""
    seeds: Annotated[int, at_least(1)] = 20
    """Repetitions of everything, each with data, initial weights and order of its own. With fewer than 5, intervals say
    next to nothing."""
    seed: Annotated[int, at_least(0)] = 42
    """The first seed."""
    cifar: str = "cifar10"
    """Where stage 1 gets CIFAR-10: `cifar10` (torchvision's download), or a folder of its images."""
    weights: str = "IMAGENET1K_V1"
    """Weights that make the features of CIFAR-10, as for `python -m features`."""
