"""Configurations of stage 1's commands: each class is a command's flags and its help page."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from features.util.flags import SHARE, Flags, at_least

Runtime = Literal["auto", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
RUNTIMES, DEVICES, PRECISIONS = map(get_args, (Runtime, Device, Precision))


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(Flags):
    """Run a frozen backbone once over a data set and cache its features to HDF5.

    For example:
      python -m features                                   the demo's ants and bees, downloaded
      python -m features --data ~/pictures --split 0.2     your own, in CLASS/ folders
      python -m features --data cifar10 --classes cat,dog  a torchvision data set, two of its classes
      python -m features --backbone vit_b_16 --views 8     another network, and augmented views
      python -m features --layers layer2 layer3 layer4     layers of it, a cache each: out/features-layer2.h5, …
      python -m features verify out/features.h5            is every byte as it was written?
      python -m features info out/features.h5              what is in it, and where it comes from (--json)
      python -m features info out/features-*.h5            the same of several, and which separates the classes best
      python -m features import rows.npz --split 0.2       rows of features of your own, in place of pictures
      python -m features export out/features.h5 --to rows.parquet   the rows for other programs

    After any interruption the same command goes on from the last finished piece.
    """

    data: str = "hymenoptera"
    """`hymenoptera` (the demo's archive, downloaded and verified); a folder with train/ and val/, one subfolder a
    class; a folder of class folders, with --split; a .csv or .parquet file with columns path, label and perhaps split;
    or a torchvision data set by name (cifar10, oxford-iiit-pet, …) or a MedMNIST one (medmnist:pneumoniamnist, in
    another size medmnist:pneumoniamnist:64), downloaded."""
    split: Annotated[float, SHARE] | None = None
    """Share of each class that is held out as val, where the data has no split of its own."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of --split, --limit and --views."""
    classes: str = ""
    """Classes to keep, separated by commas; all by default."""
    limit: Annotated[int, at_least(1)] | None = None
    """Largest number of images of each class in each split, chosen by --seed."""
    skip_bad: bool = False
    """Leave unreadable images out and list them in the file, instead of stopping before the network starts."""
    backbone: str = "resnet18"
    """The frozen network: any classification model of torchvision (see --list-backbones), `timm:NAME` (the extra
    `timm`), or `hf:REPOSITORY`, an image model of Hugging Face or a folder of its format (the extra `hf`)."""
    weights: str = "IMAGENET1K_V1"
    """A name of torchvision's weights for that backbone (downloaded and verified), a name of timm's, or a file holding
    its `state_dict` (.pth, .pt or .safetensors); unless given, that of torchvision, or another library's own first."""
    list_backbones: bool = False
    """List the backbones with their features, image sizes and weights, and do nothing else."""
    layer: str = ""
    """Take the features from this layer of the backbone, by its dotted name (layer3, blocks.6, encoder.layer.5), in
    place of the network's own: maps are averaged over their places; of tokens the class token is taken, or the mean
    where there is none. The network does not run behind it."""
    layers: tuple[str, ...] = ()
    """Several layers in one pass over the images, a cache each beside --out, which their names are added to:
    out/features-layer3.h5. One name is as --layer."""
    list_layers: bool = False
    """List the layers of --backbone with what each gives, and do nothing else."""
    views: Annotated[int, at_least(0)] = 0
    """Augmented views of each training image (random crop and flip) whose features are stored beside the plain ones."""
    out: Path = Path("out/features.h5")
    """The cache to write. One that is up to date by its fingerprints is kept."""
    dtype: Literal["float32", "float16"] = "float32"
    """How features are stored: `float32`, or `float16` in half the space."""
    shards: bool = False
    """Leave the finished pieces as shards, features-00000-of-00040.h5, instead of joining them into one file."""
    shard_rows: Annotated[int, at_least(1)] = 256
    """Images in a piece: what is lost at most when a run is killed, and the size of a shard."""
    runtime: Runtime = "auto"
    """What runs the network: `onnxruntime` (the extra `fast`) or `torch`; `auto` takes the fastest exact one."""
    device: Device = "auto"
    """`cpu` or `cuda`; `auto` takes CUDA where there is one."""
    precision: Precision = "float32"
    """Precision of the network's arithmetic: `float32`, or `bfloat16` or `float16` where the device has them;
    recorded."""
    batch: Annotated[int, at_least(1)] = 16
    """Images in one pass through the network."""
    workers: Annotated[int, at_least(1)] = field(default_factory=lambda: os.cpu_count() or 1)
    """Threads that read and decode images beside the network; by default as many as there are cores."""
    engine: Literal["local", "ray"] = "local"
    """`local`: this process. `ray`: Ray Data over the machines of a cluster (the extra `ray`); --out must then lie on a
    file system that all of them share."""
    address: str | None = None
    """Address of the Ray cluster; without it, one is started on this machine."""
    offline: bool = False
    """Download nothing: use the packaged Hymenoptera features."""
    force: bool = False
    """Compute the features even if the cache is up to date."""
    note: str = ""
    """Free text kept in the file: whose images and weights these are, their licences."""

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems = super().problems()
        if self.address is not None and self.engine != "ray":
            problems.append(f"--address is {self.address}, but --engine is {self.engine}; add --engine ray")
        if not self.data:
            problems.append("--data is empty; give `hymenoptera`, a folder, a list or a torchvision data set")
        if not self.weights:
            problems.append("--weights is empty; give IMAGENET1K_V1 or a file")
        if self.layer and self.layers:
            problems.append(f"--layer is {self.layer}, and --layers is given too; name all layers behind --layers")
        for name in (self.layer, *self.layers) if self.layer else self.layers:
            if not re.fullmatch(r"\w+([.-]\w+)*", name):
                problems.append(f"--layer is {name!r}; a layer is a dotted name, which --list-layers lists")
        if twice := sorted({name for name in self.layers if self.layers.count(name) > 1}):
            problems.append(f"--layers names {', '.join(twice)} twice; name each layer once")
        return problems

    @property
    def caches(self) -> dict[str, Path]:
        """The cache of each layer; the network's own features are those of the layer ``""``."""
        names = self.layers or (self.layer,)
        if len(names) == 1:
            return {names[0]: self.out}
        return {name: self.out.with_name(f"{self.out.stem}-{name}{self.out.suffix}") for name in names}

    @property
    def class_names(self) -> tuple[str, ...]:
        """``classes`` as names."""
        return tuple(name.strip() for name in self.classes.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class ImportConfig(Flags):
    """Turn rows of features that something else computed into a cache, in place of stage 1.

    For example:
      python -m features import embeddings.npz --split 0.2       arrays features and labels; a fifth for validation
      python -m features import clip.parquet --label species     columns; features are a column of lists, or numbers
      python -m features import saved_dataset/                   a folder of Hugging Face's datasets, with its splits
      python -m features import sklearn:digits --split 0.2       a set that ships with scikit-learn

    Takes .npz, .npy (labels in a file beside it), .parquet, .csv, .tsv, .h5, .pt (a dict of tensors) and such folders.
    Names of rows (ids, paths) and splits (train, and val or test) are taken over where there are any.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The rows."""
    out: Path = Path("out/features.h5")
    """The cache to write. One that was imported from the same rows is kept."""
    split: Annotated[float, SHARE] | None = None
    """Share of each class that is held out as val, where the rows have no split of their own."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of --split."""
    columns: str | None = None
    """Name of the array, or of the column, of features; of a table with a column a feature, how their names begin.
    Without it the usual names are tried: features, embeddings, X, …"""
    label: str | None = None
    """Name of the labels; of a .npy the file that holds them. Usual: labels, label, y, target."""
    id: str | None = None
    """Name of the rows' names. Usual: ids, id, paths, path."""
    split_column: str | None = None
    """Name of the splits. Usual: splits, split."""
    standardize: bool = False
    """Scale each feature to mean 0 and standard deviation 1 over the training rows, as columns of several units need.
    Rows that are classified later are scaled alike."""
    dtype: Literal["float32", "float16"] = "float32"
    """How features are stored: `float32`, or `float16` in half the space."""
    force: bool = False
    """Import even if the cache is up to date."""
    note: str = ""
    """Free text kept in the file: what computed these rows, their licences."""


@dataclass(frozen=True, kw_only=True)
class ExportRowsConfig(Flags):
    """Write the rows of a cache for other programs: features, labels, names, splits and classes.

    For example:
      python -m features export out/features.h5 --to rows.npz        for NumPy
      python -m features export out/features.h5 --to rows.parquet    for pandas, Polars, datasets, DuckDB

    Importing such a file gives the same rows, labels, names and splits again.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = Path("out/features.h5")
    """The cache; for shards a quoted pattern, 'out/features-*.h5'."""
    to: Path = Path("rows.npz")
    """The file to write: .npz, .parquet or .csv."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(Flags):
    """Read a feature cache from end to end: is every byte as it was written? Exit code 2 and the reason if not."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The cache; for shards a quoted pattern, 'out/features-*.h5'."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class InfoConfig(Flags):
    """Print what feature caches hold and what they were made from, after verifying them.

    Of several, as --layers makes them, a table says which separates the classes best.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILES")] = (
        Path("out/features.h5"),
    )
    """The caches; for shards a quoted pattern, 'out/features-*.h5'."""
    json: bool = False
    """Print JSON: everything the file records; of several files a list."""
