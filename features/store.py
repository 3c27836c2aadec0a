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

import fcntl
import hashlib
import io
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

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

    Raises:
        InputError: if another process is writing this very file.
        OSError: as soon as the disk is full or fails, here and in the methods.
    """

    def __init__(
        self, path: Path, paths: dict[str, tuple[str, ...]], labels: dict[str, tuple[int, ...]], width: int
    ) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = _PartFile(path)
        # Format 1.10 puts a checksum on HDF5's own structures too.
        self._file = h5py.File(self._part, "w", libver=("v110", "v110"))
        self._written = {split: np.zeros(len(rows), dtype=bool) for split, rows in paths.items()}
        try:
            for split, rows in paths.items():
                self._create_split(split, rows, labels[split], width)
        except BaseException:
            self._discard()
            raise

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
        self._part.raise_failure()
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
        self._file.flush()
        self._part.raise_failure()
        attributes["content_sha256"] = _content_sha256(provenance, _read_splits(self._file))
        attributes["complete"] = True
        self._file.close()
        self._part.raise_failure()
        return publish(self._part.path, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        # After a failure HDF5 may complain again as it closes; the first failure is the one to report.
        with suppress(Exception):
            self._file.close()
        self._part.discard()


def write_features(path: Path, provenance: Provenance, splits: dict[str, Split]) -> FeatureSet:
    """Write rows that are already at hand, as :class:`FeatureWriter` does."""
    paths = {name: split.paths for name, split in splits.items()}
    labels = {name: tuple(split.labels.tolist()) for name, split in splits.items()}
    with FeatureWriter(path, paths, labels, splits["train"].features.shape[1]) as writer:
        for name, split in splits.items():
            writer.write(name, 0, split.features)
        return writer.finish(provenance)


def read_features(path: Path) -> FeatureSet:
    """Read and verify a whole cache.

    Raises:
        InputError: if there is no such file.
        OSError: if it may not be read.
        NotACache: if it is no feature cache, or of an unknown version.
        DamagedCache: if it is unfinished, truncated or altered.
    """
    if not path.is_file():
        raise InputError(
            f"there is no feature file {path}; make it: python -m features --out {path}  (or: make features)"
        )
    with path.open("rb") as start:
        if start.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
            raise NotACache(f"{path} ({path.stat().st_size} bytes) is no feature cache; {_NAME_ANOTHER}")
    try:
        # A finished file never changes, it is only ever replaced: no lock is needed, and some file systems have none.
        with h5py.File(path, "r", locking=False) as file:
            attributes = dict(file.attrs)
            _refuse_foreign(path, attributes)
            provenance = _read_provenance(attributes)
            splits = _read_splits(file)
        content = _content_sha256(provenance, splits)
    except InputError:
        raise
    except Exception as error:  # where HDF5's structures or checksums do not hold, h5py raises a dozen kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedCache(f"{path} is damaged ({reason}); {_REMAKE}") from error
    if content != attributes["content_sha256"]:
        raise DamagedCache(f"{path} is damaged: its contents do not match their checksum; {_REMAKE}")
    return FeatureSet(path=path, provenance=provenance, content_sha256=content, splits=splits)


def publish(part: Path, final: Path) -> FeatureSet:
    """Give a finished file its final name once it has been verified and is on the disk.

    Raises:
        InputError: as :func:`read_features` finds the file wrong; ``final`` is untouched.
    """
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    verified = read_features(part)
    part.replace(final)
    return replace(verified, path=final)


_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NAME_ANOTHER = "name a file that `make features` made"
_REMAKE = "make it again: python -m features --force  (or: make clean features)"


def _close_in_child() -> None:
    # A DataLoader's worker that outlives a killed run must not keep its lock.
    for part in _open_parts:
        part.close()


_open_parts: WeakSet[_PartFile] = WeakSet()
os.register_at_fork(after_in_child=_close_in_child)


class _PartFile(io.FileIO):
    """The unfinished file beside ``final``, locked against other processes; what HDF5 writes goes through here.

    HDF5 crashes the whole process where a write fails as it closes a file (a full disk is enough), so it is never told:
    the first failure is kept, the rest of the writes are dropped, and :meth:`raise_failure` reports it.
    """

    def __init__(self, final: Path) -> None:
        self.path = final.with_name(f".{final.name}.part")
        self.failure: BaseException | None = None
        # Not truncated before it is locked: it may be another process's, at work.
        super().__init__(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, the other process may have finished and renamed it.
            mine = os.path.samestat(os.fstat(self.fileno()), self.path.stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            self.close()
            raise InputError(f"another process is writing {final} just now; wait for it, or name another file")
        super().truncate(0)
        _open_parts.add(self)

    def write(self, data: Any) -> int:
        """All of the bytes, or none after the first failure; always claims success."""
        try:
            rest = memoryview(data).cast("B")
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # a Ctrl-C that arrives here, inside of HDF5, too
            self.failure = error
        return len(data)

    def raise_failure(self) -> None:
        """Report the first write that failed, if any."""
        if isinstance(self.failure, OSError):
            raise OSError(self.failure.errno, self.failure.strerror, str(self.path)) from self.failure
        if self.failure is not None:
            raise self.failure

    def discard(self) -> None:
        """Remove the file, if it has not got its final name, and release the lock."""
        if not self.closed:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self.fileno()), self.path.stat()):
                    self.path.unlink()
            self.close()


def _refuse_foreign(path: Path, attributes: dict[str, Any]) -> None:
    version = attributes.get("format_version")
    if version is None:
        raise NotACache(f"{path} is an HDF5 file, but no feature cache; {_NAME_ANOTHER}")
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
            features=file[name]["features"][()],
            labels=file[name]["labels"][()],
            paths=tuple(path.decode() for path in file[name]["paths"][()]),
        )
        for name in sorted(file)
    }


def _content_sha256(provenance: Provenance, splits: dict[str, Split]) -> str:
    digest = hashlib.sha256(canonical_json([FORMAT_VERSION, asdict(provenance)]).encode())
    for name, split in sorted(splits.items()):
        shapes = [str(split.features.dtype), list(split.features.shape), str(split.labels.dtype)]
        digest.update(canonical_json([name, shapes, split.paths]).encode())
        digest.update(split.features.tobytes())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()
