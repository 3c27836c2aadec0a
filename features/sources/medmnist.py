"""The MedMNIST sets by name: ``medmnist:pneumoniamnist``, or in another size ``medmnist:pneumoniamnist:64``.

Medical pictures of 28 × 28, 64, 128 or 224 pixels, each set a NumPy archive on Zenodo. They are read here, without the
package ``medmnist``: it needs scikit-image and fire, and makes a folder in the user's home when it is imported. Names,
classes, licences and checksums, in ``medmnist.csv``, are those of its version 3.0.2.

Sources: J. Yang et al., "MedMNIST v2", Scientific Data 10, 41 (2023); https://medmnist.com.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from features.sources import download as downloads
from features.sources.catalogue import Catalogue, Kind, Row, refuse_own_split
from features.util.errors import InputError, did_you_mean
from features.util.memory import gigabytes, physical_memory

PREFIX = "medmnist:"
ARCHIVE = "https://zenodo.org/records/10519652/files"
SIZES = ("28", "64", "128", "224")
# The authors publish accuracies on their test images, and choose models on their validation images: as with other sets
# of three parts, the first two are for training.
PARTS = {"train": ("train", "val"), "val": ("test",)}
_REFUSED = {"chestmnist": "its pictures have several labels each"}
_MAGIC = {2: b"P5", 3: b"P6"}


@dataclass(frozen=True, kw_only=True)
class MedSet:
    """A row of ``medmnist.csv``.

    Attributes:
        name: Such as ``pneumoniamnist``.
        licence: Of its pictures.
        classes: Names, in the order of the labels.
        md5: Checksum of the archive of each size.
    """

    name: str
    licence: str
    classes: tuple[str, ...]
    md5: dict[str, str]


@cache
def known_sets() -> dict[str, MedSet]:
    """All sets whose pictures are flat and have one label each, by name."""
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["name"]: MedSet(
            name=row["name"],
            licence=row["licence"],
            classes=tuple(row["classes"].split("|")),
            md5={size: row[size] for size in SIZES},
        )
        for row in rows
    }


@dataclass(frozen=True)
class MedPictures:
    """Pictures of an archive, given as PGM or PPM. It pickles as a path: where it arrives, the archive is read anew."""

    file: Path

    def read(self, path: str) -> bytes:
        """The picture of ``PART/CLASS/INDEX.pgm``; raises OSError if the archive is no longer there."""
        try:
            pixels = _images(self.file, path.split("/")[0])[int(Path(path).stem)]
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise OSError(f"the archive {self.file} is damaged ({error})") from error
        return b"%s\n%d %d\n255\n" % (_MAGIC[pixels.ndim], pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def read_medmnist(data: str, split: float | None, *, download: bool) -> Catalogue:
    """List the pictures of a set; downloaded and verified on first use. They are named ``test/pneumonia/00012.pgm``.

    Args:
        data: ``medmnist:NAME`` or ``medmnist:NAME:SIZE``.
        split: Refused: the sets have their own.
        download: Whether it may be downloaded if it is not here yet.

    Raises:
        InputError: if there is no such set or size, or ``split`` is given, or the archive is damaged or too large.
        DownloadError: if the set can't be had.
    """
    name, _, size = data.lower().removeprefix(PREFIX).partition(":")
    found, size = _known(name, size)
    named = PREFIX + (name if size == SIZES[0] else f"{name}:{size}")
    place = f"the data set {named}"
    refuse_own_split(place, split)
    stem = name if size == SIZES[0] else f"{name}_{size}"
    root = downloads.datasets_folder() / f"medmnist-{stem}"
    file = root / f"{stem}.npz"
    if not root.is_dir():
        if not download:
            raise downloads.DownloadError(f"{place} is not at {root}, and may not be downloaded")
        print(f"downloading {place} to {root}")
        downloads.download_dataset(stem, root, lambda folder: _fetch(folder, file.name, found.md5[size]))
    try:
        rows = {part: [row for own in parts for row in _rows(file, own, found)] for part, parts in PARTS.items()}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{place} at {root} is damaged ({error}); remove that folder, then run the same command again to download "
            "it anew"
        ) from error
    note = f"MedMNIST v2, {name}, {found.licence}: cite Yang et al., Scientific Data 10, 41 (2023)"
    return Catalogue(name=named, place=place, source=MedPictures(file), rows=rows, note=note)


def _known(name: str, size: str) -> tuple[MedSet, str]:
    sets = known_sets()
    size = size or SIZES[0]
    if name not in sets:
        reason = _REFUSED.get(name, "its pictures are volumes" if name.endswith("3d") else "")
        raise InputError(
            f"{PREFIX}{name} can't be used: {reason}"
            if reason
            else f"there is no set {PREFIX}{name}{did_you_mean(name, tuple(sets))}; there are {', '.join(sets)}"
        )
    if size not in SIZES:
        raise InputError(f"{PREFIX}{name}:{size} has no such size; give one of {', '.join(SIZES)}")
    return sets[name], size


def _fetch(folder: Path, name: str, md5: str) -> None:
    from torchvision.datasets.utils import download_url

    download_url(f"{ARCHIVE}/{name}?download=1", str(folder), filename=name, md5=md5)


def _rows(file: Path, part: str, found: MedSet) -> list[Row]:
    """Paths and class names of a part, in the archive's order."""
    labels = _array(file, f"{part}_labels").reshape(-1)
    images = _images(file, part)
    if len(labels) != len(images) or (len(labels) and int(labels.max()) >= len(found.classes)):
        raise ValueError(f"its {part} has {len(images)} pictures and {len(labels)} labels of other classes")
    names = [found.classes[int(label)] for label in labels]
    ending = "pgm" if images.ndim == 3 else "ppm"
    return [(f"{part}/{name}/{index:05}.{ending}", name) for index, name in enumerate(names)]


@cache
def _images(file: Path, part: str) -> np.ndarray:
    """Pixels (N, H, W) or (N, H, W, 3) of a part, uint8."""
    images = _array(file, f"{part}_images")
    if images.dtype != np.uint8 or images.ndim - (images.shape[-1] == 3) != 3:
        raise ValueError(f"its {part}_images are {images.dtype} of shape {images.shape}")
    return images


def _array(file: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo(f"{name}.npy").file_size
    if size > physical_memory():
        raise InputError(
            f"{file} holds {gigabytes(size)} of {name}, more than this machine's memory; take a smaller size"
        )
    with np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


MEDMNIST = Kind(
    takes=f"a MedMNIST set ({PREFIX}pneumoniamnist, …)",
    claims=lambda data: data.lower().startswith(PREFIX),
    read=lambda data, split, may_download: read_medmnist(data, split, download=may_download),
    named=True,
)
