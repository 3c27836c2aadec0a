"""torchvision's classification data sets by name: ``cifar10``, ``oxford-iiit-pet``, …

torchvision downloads, verifies and unpacks them, into torch's own cache; this module knows how each names its parts.
For one of them, ``fgvc-aircraft``, torchvision has no checksum: there only gzip's own guards against damage.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from features.sources import download as downloads
from features.sources.catalogue import UNSPLIT, Catalogue, Files, Kind, Row, refuse_own_split
from features.util.errors import InputError

Parts = dict[str, tuple[dict[str, Any], ...]]


def _flag(**names: tuple[Any, Any]) -> Parts:
    ((name, (train, held_out)),) = names.items()
    return {"train": ({name: train},), "val": ({name: held_out},)}


def _named(train: str, held_out: str = "test") -> Parts:
    return {
        "train": tuple({"split": part} for part in train.split("+")),
        "val": tuple({"split": part} for part in held_out.split("+")),
    }


# Arguments of each constructor for the training and for the held-out images. Where the authors made three parts, the
# first two are for training, as in published comparisons on the third.
_FLAG = _flag(train=(True, False))
_WHOLE: Parts = {UNSPLIT: ({},)}
_PARTS: dict[str, Parts] = {
    "CIFAR10": _FLAG,
    "CIFAR100": _FLAG,
    "Country211": _named("train+valid"),
    "DTD": _named("train+val"),
    "EuroSAT": _WHOLE,
    "FashionMNIST": _FLAG,
    "FGVCAircraft": _named("trainval"),
    "Flowers102": _named("train+val"),
    "Food101": _named("train"),
    "GTSRB": _named("train"),
    "Imagenette": _named("train", "val"),
    "KMNIST": _FLAG,
    "MNIST": _FLAG,
    "OxfordIIITPet": _named("trainval"),
    "RenderedSST2": _named("train+val"),
    "STL10": _named("train"),
    "SUN397": _WHOLE,
    "SVHN": _named("train"),
    "USPS": _FLAG,
}
_HYPHENATED = ("fashion-mnist", "fgvc-aircraft", "oxford-iiit-pet", "rendered-sst2")


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


_KNOWN = {_plain(known): known for known in _PARTS}
_SPELLED = {known: known.lower() for known in _PARTS} | {_KNOWN[_plain(name)]: name for name in _HYPHENATED}

NAMES = tuple(sorted(_SPELLED.values()))


@dataclass(frozen=True)
class Arrays:
    """Pictures that a data set keeps in arrays, given as PPM or PGM: the same bytes whatever the library's version.

    It pickles as a name and a folder; where it arrives, the arrays are read again.
    """

    name: str
    root: Path

    def read(self, path: str) -> bytes:
        """The picture of ``SPLIT/CLASS/INDEX.ppm``; raises OSError if the data set is no longer there."""
        try:
            opened = _opened(self.name, self.root)
        except RuntimeError as error:
            raise OSError(f"the data set {self.name} is not at {self.root} ({error})") from error
        (dataset,) = opened[path.split("/")[0]]
        image, _ = dataset[int(Path(path).stem)]
        return b"%s\n%d %d\n255\n" % (_MAGIC[image.mode], *image.size) + image.tobytes()


_MAGIC = {"L": b"P5", "RGB": b"P6"}
_ENDING = {"L": "pgm", "RGB": "ppm"}


def is_dataset(name: str) -> bool:
    """Whether this names one of the data sets in ``NAMES``, in whatever spelling: ``cifar10``, ``CIFAR-10``."""
    return _plain(name) in _KNOWN


def read_dataset(name: str, split: float | None, *, download: bool) -> Catalogue:
    """List the images of a data set; downloaded, verified and unpacked by torchvision on first use.

    Pictures in files are named by their paths in the download, those in arrays ``train/cat/00012.ppm``.

    Args:
        name: One of ``NAMES``.
        split: The fraction to hold out, where the set has no split of its own.
        download: Whether it may be downloaded if it is not here yet.

    Raises:
        InputError: for ``split`` where the set has its own, or none where it has not; before any download.
        DownloadError: if the set can't be had.
    """
    known = _KNOWN[_plain(name)]
    spelled, parts = _SPELLED[known], _PARTS[known]
    place = f"the data set {spelled}"
    if UNSPLIT not in parts:
        refuse_own_split(place, split)
    elif split is None:
        raise InputError(
            f'{place} has no split of its own; give --split 0.2 (make: FEATURES_ARGS="--split 0.2") to hold out '
            "a fifth of each class"
        )
    root = downloads.datasets_folder() / spelled
    if not root.is_dir():
        if not download:
            raise downloads.DownloadError(f"{place} is not at {root}, and may not be downloaded")
        print(f"downloading {place} to {root}")
        downloads.download_dataset(spelled, root, lambda folder: _open_parts(known, folder, download=True))
    try:
        opened = _opened(known, root)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{place} at {root} is damaged ({error}); remove that folder, then run the same command "
            "again to download it anew"
        ) from error
    rows = {part: [row for dataset in sets for row in _rows(dataset, part, root)] for part, sets in opened.items()}
    in_files = not _in_arrays(next(iter(opened.values()))[0])
    return Catalogue(name=spelled, place=place, source=Files(root) if in_files else Arrays(known, root), rows=rows)


@cache
def _opened(known: str, root: Path) -> dict[str, list[Any]]:
    return _open_parts(known, root, download=False)


def _open_parts(known: str, root: Path, *, download: bool) -> dict[str, list[Any]]:
    from torchvision import datasets

    kind = getattr(datasets, known)
    with warnings.catch_warnings():
        # NumPy 2.4.0 warns of the age of CIFAR's pickles (pytorch/vision#9340); there is nothing to mend here.
        warnings.filterwarnings("ignore", message=".*align should be passed")
        return {
            part: [kind(str(root), download=download, **arguments) for arguments in of_part]
            for part, of_part in _PARTS[known].items()
        }


def _in_arrays(dataset: Any) -> bool:
    return hasattr(dataset, "data")


def _rows(dataset: Any, part: str, root: Path) -> list[Row]:
    if _in_arrays(dataset):
        labels = [int(label) for label in getattr(dataset, "targets" if hasattr(dataset, "targets") else "labels")]
        ending = _ENDING[dataset[0][0].mode]
        names = _class_names(dataset, max(labels) + 1)
        return [(f"{part}/{names[label]}/{index:05}.{ending}", names[label]) for index, label in enumerate(labels)]
    files = _files(dataset)
    names = _class_names(dataset, max(label for _, label in files) + 1)
    return [(Path(file).relative_to(root).as_posix(), names[label]) for file, label in files]


def _files(dataset: Any) -> list[tuple[str, int]]:
    """Paths and labels; asking for the items instead would decode every picture."""
    for pairs in ("samples", "_samples"):
        if hasattr(dataset, pairs):
            return list(getattr(dataset, pairs))
    files = dataset._images if hasattr(dataset, "_images") else dataset._image_files
    return list(zip(files, dataset._labels, strict=True))


def _class_names(dataset: Any, count: int) -> list[str]:
    """The set's own names, the first of several; else numbers, with zeros in front so that they sort as numbers do."""
    names = getattr(dataset, "classes", None)
    if not names:
        return [f"{index:0{len(str(count - 1))}}" for index in range(count)]
    return [name if isinstance(name, str) else name[0] for name in names]


DATASETS = Kind(
    takes="the name of a torchvision data set (cifar10, oxford-iiit-pet, …)",
    claims=is_dataset,
    read=lambda data, split, may_download: read_dataset(data, split, download=may_download),
    named=True,
    names=NAMES,
)
