"""Flags of ``eval``, ``predict`` and ``export``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from features.config import Runtime
from features.util.flags import Flags, at_least
from pipeline.devices.config import DeviceConfig

FOLDER, FEATURES = "folder", "features"
"""True classes that need no file of their own."""


@dataclass(frozen=True, kw_only=True)
class NetworkFlags(Flags):
    """The whole network: a run, and its backbone's weights."""

    run: Path = Path("out/run")
    """The run folder that `train` made."""
    weights: str | None = None
    """The backbone's weights, if they are no longer where the features were made with them."""
    accept_other_weights: bool = False
    """Accept a backbone other than the one that made the features."""


@dataclass(frozen=True, kw_only=True)
class HeadFlags(NetworkFlags):
    """The whole network with the head of one epoch."""

    epoch: Literal["last", "best"] = "last"
    """Which epoch's head to use."""


@dataclass(frozen=True, kw_only=True)
class PassFlags(Flags):
    """How images go through the network."""

    batch: Annotated[int, at_least(1)] = 16
    """Images in one pass through the network."""
    workers: Annotated[int, at_least(1)] = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that decode and resize images while the network runs; by default one for each core."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig(DeviceConfig, PassFlags, NetworkFlags):
    """Reattach a trained head to its backbone, classify the validation images end to end, and write the report into
    the run folder.

    Where the images or the weights are not at hand, the report is made from the cached features and says so.
    """

    features: Path | None = None
    """The feature cache, if it is no longer where the head was trained on it."""
    data: str | None = None
    """The images, if they are no longer where the features were made from them."""
    explain: bool = False
    """Show in the report where the network looks: heat maps (Grad-CAM) over the pictures it saw."""
    full_paths: bool = False
    """Write the home folder into report.html as it is; otherwise it is written ~, because it names its user."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig(PassFlags, HeadFlags):
    """Classify pictures with the whole network: backbone and trained head."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES …")] = field(default=())
    """Image files, or folders of them."""
    features: Path | None = None
    """Classify rows of features instead of pictures: any file that `python -m features import` takes; labels in it are
    ignored, but by `--labels features`."""
    top: Annotated[int, at_least(1)] | None = None
    """Number of classes to print for each image, the most probable first. By default the table prints one; JSON and CSV
    print all, in the order of the classes."""
    json: bool = False
    """Print JSON, one object an image."""
    csv: bool = False
    """Print CSV."""
    out: Path | None = None
    """The file to write instead of printing, with --csv or --json. After any interruption the same command goes on
    where it was."""
    force: bool = False
    """Replace the file that --out names, and begin again where another command was stopped."""
    labels: str | None = None
    """The true classes, to judge the predictions by: a CSV with the columns image (or path, id) and class (or label);
    `folder`: each picture lies in a folder named by its class; `features`: the labels in the file of --features.
    Metrics with 95 % intervals and the confusions are printed at the end; with --out they are also written beside it,
    into NAME.metrics.json. What has no label is counted and left out."""
    runtime: Runtime = "auto"
    """What runs the network on a CPU: `onnxruntime` (the extra `fast`) or `torch`; `auto` takes ONNX Runtime for
    hundreds of pictures, if it agrees with torch."""

    def problems(self) -> list[str]:
        """One sentence for each mistake in the values."""
        problems = super().problems()
        if not self.images and self.features is None:
            problems.append(
                'no images given; name files or folders (make: IMAGES="a.jpg dir/"), or rows with --features FILE'
            )
        if self.images and self.features is not None:
            problems.append(f"--features is {self.features}, and images are given; give one of them")
        if self.json and self.csv:
            problems.append("--json and --csv exclude each other; give one")
        if self.out is not None and not (self.json or self.csv):
            problems.append(f"--out is {self.out}; say what to write into it: --csv or --json")
        if self.force and self.out is None:
            problems.append("--force replaces the file of --out, which is not given; leave it out")
        if self.labels == FOLDER and self.features is not None:
            problems.append("--labels is folder, and rows of --features lie in none; give a CSV, or `features`")
        if self.labels == FEATURES and self.features is None:
            problems.append("--labels is features, and pictures are given; give a CSV, or `folder`")
        if self.features is not None and self.runtime != "auto":
            problems.append(f"--runtime is {self.runtime}, and rows of --features need no network; leave it out")
        return problems


@dataclass(frozen=True, kw_only=True)
class ExportConfig(HeadFlags):
    """Turn a trained head and its backbone into files for other programs.

    model.onnx is the whole network in one file, which ONNX Runtime runs without PennyLane and without this project;
    its circuit is a few matrix products, so it takes at most 10 qubits. model.pth is a `state_dict` with the names that
    PennyLane's demo gives: torchvision's model with the head in the place of its last layer (fc.pre_net, …).
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Path("out/run")
    """The run folder that `train` made."""
    out: Path | None = None
    """The folder to write; by default the run folder."""
