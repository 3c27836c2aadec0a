"""The feature cache: one HDF5 file, written whole or not at all, refused when it is not what it says.

Layout (format 1)::

    /            attributes: format_version, complete, content_sha256, and the fields of Provenance
    /train, /val
        features (N, D) float32, chunked by rows, each chunk with a Fletcher-32 checksum
        labels   (N,)   int64    index into the attribute `classes`
        paths    (N,)   UTF-8    relative to the data set's folder

``content_sha256`` covers every value in the file, attributes included, so that one flipped byte is one clear error.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from features.errors import InputError
from features.provenance import canonical_json

FORMAT_VERSION = 1
CHUNK_ROWS = 64


class NotACache(InputError):
    """The file is something else, or of a version this program does not know: it is not ours to replace."""


class DamagedCache(InputError):
    """The file is a feature cache, but unfinished, truncated or altered: it can be made again."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the features of a file come from.

    Attributes:
        classes: Class names; a label is an index into them.
        backbone: Architecture of the frozen network.
        weights: Name of its weights.
        weights_sha256: Fingerprint of its tensors.
        transform: Canonical JSON of the preprocessing.
        data: Name of the data set.
        images_sha256: Fingerprint over ordered relative paths and file contents.
        data_location: Where the images were: a name, or a path; a relative one starts at this file's folder.
        weights_location: The same for the weights.
        versions: Versions of the libraries that made the features.
        created: UTC time, ISO 8601.
        note: Free text of the maker.
    """

    classes: tuple[str, ...]
    backbone: str
    weights: str
    weights_sha256: str
    transform: str
    data: str
    images_sha256: str
    data_location: str
    weights_location: str
    versions: dict[str, str]
    created: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split's rows.

    Attributes:
        features: Array of shape (N, D), float32.
        labels: Array of shape (N,), int64.
        paths: N relative paths.
    """

    features: np.ndarray
    labels: np.ndarray
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A whole feature cache in memory."""

    path: Path
    provenance: Provenance
    content_sha256: str
    splits: dict[str, Split] = field(repr=False)

    @property
    def train(self) -> Split:
        """The training split."""
        return self.splits["train"]

    @property
    def val(self) -> Split:
        """The validation split."""
        return self.splits["val"]

    @property
    def width(self) -> int:
        """Features an image."""
        return int(self.train.features.shape[1])


class FeatureWriter:
    """Writes a cache beside its final name; the name appears only when every row is there and has been read back.

    Use as a context manager; leaving it by an exception removes the unfinished file and touches nothing else.

    Args:
        path: The file to make.
        paths: For each split, the relative paths in row order.
        labels: For each split, their labels.
        width: Features an image.
    """

    def __init__(
        self, path: Path, paths: dict[str, tuple[str, ...]], labels: dict[str, tuple[int, ...]], width: int
    ) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Format 1.10 puts a checksum on HDF5's own structures too.
        self._file = h5py.File(self._part, "w", libver=("v110", "v110"))
        self._written = {split: np.zeros(len(rows), dtype=bool) for split, rows in paths.items()}
        for split, rows in paths.items():
            self._create_split(split, rows, labels[split], width)

    def _create_split(self, split: str, paths: tuple[str, ...], labels: tuple[int, ...], width: int) -> None:
        encoded = [path.encode() for path in paths]
        # A fixed width, because HDF5 puts no checksum on strings of variable length.
        text = h5py.string_dtype("utf-8", length=max(map(len, encoded)))
        chunk = min(CHUNK_ROWS, len(paths))
        group = self._file.create_group(split)
        shape = (len(paths), width)
        group.create_dataset("features", shape, np.float32, chunks=(chunk, width), fletcher32=True)
        group.create_dataset("labels", data=np.asarray(labels, dtype=np.int64), chunks=(len(paths),), fletcher32=True)
        group.create_dataset("paths", data=np.asarray(encoded, dtype=text), chunks=(len(paths),), fletcher32=True)

    def __enter__(self) -> Self:
        return self

    def write(self, split: str, start: int, features: np.ndarray) -> None:
        """Put rows of shape (n, D), float32, at ``start`` of a split."""
        rows = slice(start, start + len(features))
        self._file[split]["features"][rows] = features
        self._written[split][rows] = True

    def finish(self, provenance: Provenance) -> FeatureSet:
        """Write the attributes, flush to disk, read everything back, and only then take the final name.

        Raises:
            AssertionError: if a row was not written.
        """
        assert all(rows.all() for rows in self._written.values()), "not every row was written"
        attributes = self._file.attrs
        for name, value in asdict(provenance).items():
            if name == "classes":
                attributes.create(name, list(value), dtype=h5py.string_dtype())
            else:
                attributes[name] = canonical_json(value) if isinstance(value, dict) else value
        attributes["format_version"] = FORMAT_VERSION
        attributes["content_sha256"] = _content_sha256(provenance, _read_splits(self._file))
        attributes["complete"] = True
        self._file.close()
        return publish(self._part, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def read_features(path: Path) -> FeatureSet:
    """Read and verify a whole cache.

    Raises:
        InputError: if there is no such file.
        NotACache: if it is no feature cache, or of an unknown version.
        DamagedCache: if it is unfinished, truncated or altered.
    """
    if not path.is_file():
        raise InputError(
            f"there is no feature file {path}; make it: python -m features --out {path}  (or: make features)"
        )
    if not h5py.is_hdf5(path):
        raise _not_hdf5(path)
    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            _refuse_foreign(path, attributes)
            provenance = _read_provenance(attributes)
            splits = _read_splits(file)
        content = _content_sha256(provenance, splits)
    except InputError:
        raise
    # h5py raises any of these where HDF5's own structures or checksums do not hold.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise DamagedCache(f"{path} is damaged ({reason}); {_REMAKE}") from error
    if content != attributes["content_sha256"]:
        raise DamagedCache(f"{path} is damaged: its contents do not match their checksum; {_REMAKE}")
    return FeatureSet(path=path, provenance=provenance, content_sha256=content, splits=splits)


def publish(part: Path, final: Path) -> FeatureSet:
    """Give a finished file its final name once it has been verified and is on the disk.

    Raises:
        InputError: as :func:`read_features` finds the file wrong; ``final`` is untouched.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    verified = read_features(part)
    part.replace(final)
    return replace(verified, path=final)


_REMAKE = "make it again: python -m features --force  (or: make clean features)"


def _not_hdf5(path: Path) -> InputError:
    with path.open("rb") as file:
        begins_as_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
    if begins_as_hdf5:
        return DamagedCache(f"{path} is a damaged HDF5 file; {_REMAKE}")
    return NotACache(f"{path} ({path.stat().st_size} bytes) is no HDF5 file; name a file that `make features` made")


def _refuse_foreign(path: Path, attributes: dict[str, Any]) -> None:
    version = attributes.get("format_version")
    if version is None:
        raise NotACache(f"{path} is an HDF5 file, but no feature cache; name a file that `make features` made")
    if version != FORMAT_VERSION:
        raise NotACache(
            f"{path} has format version {version}, this program reads version {FORMAT_VERSION}; "
            "update the program, or make the features again into another file"
        )
    if not attributes.get("complete", False):
        raise DamagedCache(f"{path} is unfinished; {_REMAKE}")


def _read_provenance(attributes: dict[str, Any]) -> Provenance:
    values = {item.name: attributes[item.name] for item in fields(Provenance)}
    values["classes"] = tuple(str(name) for name in values["classes"])
    values["versions"] = json.loads(values["versions"])
    return Provenance(**values)


def _read_splits(file: h5py.File) -> dict[str, Split]:
    return {
        name: Split(
            features=group["features"][()],
            labels=group["labels"][()],
            paths=tuple(path.decode() for path in group["paths"][()]),
        )
        for name, group in sorted(file.items())
    }


def _content_sha256(provenance: Provenance, splits: dict[str, Split]) -> str:
    digest = hashlib.sha256(canonical_json([FORMAT_VERSION, asdict(provenance)]).encode())
    for name, split in sorted(splits.items()):
        shapes = [str(split.features.dtype), list(split.features.shape), str(split.labels.dtype)]
        digest.update(canonical_json([name, shapes, split.paths]).encode())
        digest.update(split.features.tobytes())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()
