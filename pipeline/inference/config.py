"""Flags of ``eval``, ``predict`` and ``export``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.devices.config import DeviceConfig
from pipeline.util.checks import below


@dataclass(frozen=True, kw_only=True)
class EvalConfig(DeviceConfig):
    """Reattach a trained head to its backbone, classify the validation images end to end, and write the report.

    Where the images or the weights are not at hand, the report is made from the cached features and says so.
    """

    run: Path = Path("out/run")
    """The run folder that `train` made; the report goes there too."""
    features: Path | None = None
    """The feature cache, if it is no longer where the head was trained on it."""
    data: str | None = None
    """The images, if they are no longer where the features were made from them."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    batch: int = 16
    """Images in one pass through the network."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that decode and resize images beside the network; by default as many as there are cores."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if self.batch < 1 or self.workers < 1:
            problems.append(f"--batch is {self.batch}, --workers is {self.workers}; both must be 1 or more")
        return problems


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Classify pictures with the whole network: backbone and trained head."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional] = field(default=())
    """Image files, or folders of them."""
    run: Path = Path("out/run")
    """The run folder that `train` made."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to use."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
    top: int | None = None
    """Give so many classes of each image, the most probable first. By default the table has the most probable one, JSON
    and CSV have them all in the order of the classes."""
    json: bool = False
    """Print JSON, one object an image."""
    csv: bool = False
    """Print CSV."""
    batch: int = 16
    """Images in one pass through the network."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that decode and resize images beside the network; by default as many as there are cores."""

    def __post_init__(self) -> None:
        problems = below(self, batch=1, workers=1)
        if not self.images:
            problems.append('no images given; name files or folders (make: IMAGES="a.jpg dir/")')
        if self.json and self.csv:
            problems.append("--json and --csv exclude each other; give one")
        if self.top is not None and self.top < 1:
            problems.append(f"--top is {self.top}; it must be 1 or more")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Turn a trained head and its backbone into files for other programs.

    model.onnx is the whole network in one file, which ONNX Runtime runs without PennyLane and without this project;
    its circuit is a few matrix products, so it takes at most 10 qubits. model.pth is a `state_dict` with the names that
    PennyLane's demo gives: torchvision's model with the head in the place of its last layer (fc.pre_net, …).
    """

    run: Annotated[Path, tyro.conf.Positional] = Path("out/run")
    """The run folder that `train` made."""
    out: Path | None = None
    """The folder to write; by default the run folder."""
    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to take."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    other_weights: bool = False
    """Accept a backbone other than the one that made the features."""
