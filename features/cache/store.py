"""Reading a feature cache: one HDF5 file, or several shards of one data set, refused when it is not what it says.

Layout (format 2)::

    /            attributes: format_version, complete, rows_sha256, content_sha256, and the fields of Provenance
    /train, /val
        features (N, D) float32 or float16, chunked by rows
        labels   (N,)   int64    index into the attribute `classes`
        paths    (N,)   UTF-8    relative to the data set's folder
        digests  (N, 32) uint8   SHA-256 of each image (where recorded)
        views    (N, V, D)       features of V augmented views (train only, where asked for)
    /skipped     paths, reasons: images left out as unreadable (where there are any)

Behind HDF5's own end stands a seal, the SHA-256 of every byte before it: it is checked first, because HDF5 itself may
loop for ever in a damaged file. Each chunk has a Fletcher-32 checksum; ``rows_sha256`` covers every value of every data
set, ``content_sha256`` that and the attributes. So one flipped byte is one clear error. Format 1 had no seal, digests
or views, and one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from features.cache.featureset import SPLITS, FeatureFile, FeatureSet, Provenance, Split
from features.util.errors import InputError, first_line, listing
from features.util.provenance import canonical_json

FORMAT_VERSION = 2
# Rows are hashed and copied this many bytes at a time, so that memory does not grow with the file.
BLOCK_BYTES = 1 << 23

Arrays = dict[str, np.ndarray]


class NotACache(InputError):
    """The file is something else, or of a version this program does not know: it is not ours to replace."""


class DamagedCache(InputError):
    """The file is a feature cache, but unfinished, truncated or altered: it can be made again."""


def read_features(path: Path) -> FeatureSet:
    """Read and verify a whole data set into memory.

    Args:
        path: A cache, or with a ``*`` in its name, the shards of one.

    Raises:
        InputError: if there is no such file, or shards are missing or of different data sets.
        OSError: if it may not be read.
        NotACache: if it is no feature cache, or of an unknown version.
        DamagedCache: if it is unfinished, truncated or altered.
    """
    read = [_read_file(file, keep=True) for file in shard_files(path)]
    found = _as_one(path, [file for file, _ in read])
    rows: dict[str, list[Arrays]] = {
        split: [arrays[split] for _, arrays in read if split in arrays] for split in SPLITS
    }
    return FeatureSet(
        path=path,
        provenance=found.provenance,
        content_sha256=found.content_sha256,
        splits={split: _split(parts) for split, parts in rows.items()},
    )


def verify_features(path: Path) -> FeatureFile:
    """Verify a whole data set without holding its rows in memory; raises as :func:`read_features` does."""
    return _as_one(path, [verify_file(file) for file in shard_files(path)])


def verify_file(path: Path) -> FeatureFile:
    """Verify one file, be it a whole data set or a shard; raises as :func:`read_features` does."""
    return _read_file(path, keep=False)[0]


def shard_files(path: Path) -> list[Path]:
    """The files that ``path`` names, in the order of their names: itself, or those that its ``*`` matches.

    Raises:
        InputError: if there is none.
    """
    found = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    if not found or not all(file.is_file() for file in found):
        raise InputError(
            f"there is no feature file {path}; make it: python -m features --out {path}  (or: make features)"
        )
    return found


def image_digests(files: Iterable[Path]) -> set[str]:
    """SHA-256, in hex, of all images whose rows are in these files; damaged files, and those of format 1, tell none."""
    found: set[str] = set()
    for path in files:
        with suppress(InputError):
            if not _is_sealed(path):
                continue
            with open_cache(path) as file:
                for group in (file[split] for split in SPLITS if split in file):
                    found |= {row.tobytes().hex() for row in group["digests"][()]} if "digests" in group else set()
    return found


@contextmanager
def open_cache(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading. A finished one never changes, it is only ever replaced: no lock is needed, and some file
    systems have none."""
    with h5py.File(path, "r", locking=False) as file:
        yield file


def seal_of(path: Path) -> bytes:
    """What stands behind a finished file: a mark, and the SHA-256 of all bytes before it."""
    with path.open("rb") as file:
        return _SEAL + hashlib.file_digest(file, "sha256").digest()


def row_blocks(dataset: h5py.Dataset) -> Iterator[tuple[slice, np.ndarray]]:
    """A data set's rows in order, in whole chunks of at most ``BLOCK_BYTES`` where a chunk is smaller than that."""
    row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    rows = max(1, BLOCK_BYTES // (row_bytes * chunk)) * chunk
    for start in range(0, len(dataset), rows):
        part = slice(start, min(start + rows, len(dataset)))
        yield part, dataset[part]


def rows_sha256(files: list[h5py.File], keep: dict[str, Arrays] | None = None) -> str:
    """Fingerprint over all rows of ``files``, taken as one: names, types, shapes and values, not how they are divided.

    Args:
        files: Open caches.
        keep: Gets, for each group, its arrays by name; None keeps nothing.
    """
    digest = hashlib.sha256()
    names = sorted({f"{group}/{name}" for file in files for group in file for name in file[group]})
    for name in names:
        parts = [file[name] for file in files if name in file]
        is_text = parts[0].dtype.kind in "SO"
        shape = [sum(len(part) for part in parts), *parts[0].shape[1:]]
        digest.update(canonical_json([name, "text" if is_text else str(parts[0].dtype), shape]).encode())
        kept: list[np.ndarray] | None = [] if keep is not None else None
        for part in parts:
            for _, block in row_blocks(part):
                digest.update(b"".join(line + b"\n" for line in block.tolist()) if is_text else block.data)
                if kept is not None:
                    kept.append(block)
        if keep is not None and kept is not None:
            group, _, array = name.partition("/")
            empty = np.empty((0, *parts[0].shape[1:]), parts[0].dtype)
            keep.setdefault(group, {})[array] = np.concatenate(kept) if kept else empty
    return digest.hexdigest()


def content_sha256(attributes: dict[str, Any]) -> str:
    """Fingerprint over a format 2 file's attributes, ``rows_sha256`` among them, and so over everything in it."""
    covered = {name: value for name, value in attributes.items() if name not in ("complete", "content_sha256")}
    return hashlib.sha256(canonical_json({name: _plain(value) for name, value in covered.items()}).encode()).hexdigest()


_SEAL = b"sealed\r\n"
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NAME_ANOTHER = "name a file that `make features` made"
_REMAKE = "make it again: python -m features --force  (or: make clean features)"
# The fields that are JSON texts in the file, and those that format 1 did not have.
JSON_FIELDS = ("versions", "selection", "runtime", "views", "shard")
_SINCE_2 = ("selection", "dtype", "runtime", "views", "skipped", "shard")


def _read_file(path: Path, *, keep: bool) -> tuple[FeatureFile, dict[str, Arrays]]:
    shard_files(path)
    with path.open("rb") as start:
        if start.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
            raise NotACache(f"{path} ({path.stat().st_size} bytes) is no feature cache; {_NAME_ANOTHER}")
    sealed = _is_sealed(path)
    arrays: dict[str, Arrays] = {}
    try:
        with open_cache(path) as file:
            attributes = dict(file.attrs)
            version = _refuse_foreign(path, attributes)
            rows = rows_sha256([file], arrays if keep or version == 1 else None)
            provenance = _read_provenance(file, attributes)
            shapes = {split: tuple(file[split]["features"].shape) for split in SPLITS if split in file}
        if version == 1:
            whole, recorded = _content_sha256_of_1(provenance, arrays), attributes["content_sha256"]
        else:
            whole = content_sha256(attributes)
            recorded = attributes["content_sha256"] if sealed and rows == attributes["rows_sha256"] else None
    except InputError:
        raise
    except Exception as error:  # where HDF5's structures or checksums do not hold, h5py raises a dozen kinds
        reason = first_line(error)
        raise DamagedCache(f"{path} is damaged ({reason}); {_REMAKE}") from error
    if whole != recorded:
        raise DamagedCache(f"{path} is damaged: its contents do not match their checksum; {_REMAKE}")
    found = FeatureFile(path=path, provenance=provenance, content_sha256=whole, rows_sha256=rows, shapes=shapes)
    return found, arrays


def _is_sealed(path: Path) -> bool:
    """Whether a file has its seal; files of format 1, and those that HDF5 has written to since, have none.

    Raises:
        DamagedCache: if it has, but for other bytes.
    """
    size = path.stat().st_size - _SEAL_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(max(size, 0))
        seal = file.read()
        if not seal.startswith(_SEAL):
            return False
        file.seek(0)
        while size > 0:
            block = file.read(min(BLOCK_BYTES, size))
            digest.update(block)
            size -= len(block)
    if seal != _SEAL + digest.digest():
        raise DamagedCache(f"{path} is damaged: its contents do not match their checksum; {_REMAKE}")
    return True


def _as_one(path: Path, files: list[FeatureFile]) -> FeatureFile:
    """The data set that verified files make, which are one whole file or all shards of a set.

    Raises:
        InputError: if they do not belong together, or some are missing.
    """
    shards = [file.provenance.shard for file in files]
    if shards == [{}]:
        return files[0]
    of = shards[0].get("of", 1)
    pattern = path.with_name(path.name.split("-0")[0] + "-*" + path.suffix) if "*" not in path.name else path
    if len(files) == 1 and of > 1 and "*" not in path.name:
        raise InputError(f"{path} is shard {shards[0]['index'] + 1} of {of}; name them all: '{pattern}'")
    # What was skipped is told once, in the first.
    common = [replace(file.provenance, created="", note="", shard={}, skipped=()) for file in files]
    odd = [str(file.path) for file, said in zip(files, common, strict=True) if said != common[0]]
    if odd or {} in shards:
        raise InputError(
            f"the files {path} are not shards of one data set; these differ from the first:\n{listing(odd)}"
        )
    missing = sorted(set(range(of)) - {shard["index"] for shard in shards})
    if missing or len(files) != of:
        shown = ", ".join(str(index) for index in missing[:20]) + (", …" if len(missing) > 20 else "")
        raise InputError(
            f"{path} matches {len(files)} of {of} shards; missing: {shown or 'none, but some are there twice'}. "
            "The command that made them makes the missing ones when it is run again."
        )
    with ExitStack() as stack:
        rows = rows_sha256([stack.enter_context(open_cache(file.path)) for file in files])
    shapes: dict[str, tuple[int, int]] = {}
    for file in files:
        for split, (n, width) in file.shapes.items():
            shapes[split] = (shapes.get(split, (0, width))[0] + n, width)
    return FeatureFile(
        path=path,
        provenance=replace(files[0].provenance, shard={}),
        content_sha256=hashlib.sha256(canonical_json([file.content_sha256 for file in files]).encode()).hexdigest(),
        rows_sha256=rows,
        shapes=shapes,
    )


def _split(parts: list[Arrays]) -> Split:
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if len(parts) > 1 else parts[0]
    views = arrays.get("views")
    return Split(
        features=arrays["features"].astype(np.float32, copy=False),
        labels=arrays["labels"],
        paths=tuple(path.decode() for path in arrays["paths"].tolist()),
        digests=arrays.get("digests"),
        views=None if views is None else views.astype(np.float32, copy=False),
    )


def _refuse_foreign(path: Path, attributes: dict[str, Any]) -> int:
    version = attributes.get("format_version")
    if version is None:
        raise NotACache(f"{path} is an HDF5 file, but no feature cache; {_NAME_ANOTHER}")
    if version not in (1, FORMAT_VERSION):
        raise NotACache(
            f"{path} has format version {version}, this program reads versions 1 to {FORMAT_VERSION}; "
            "update the program, or make the features again into another file"
        )
    if not attributes.get("complete", False):
        raise DamagedCache(f"{path} is unfinished; {_REMAKE}")
    return int(version)


def _read_provenance(file: h5py.File, attributes: dict[str, Any]) -> Provenance:
    known = [item.name for item in fields(Provenance) if item.name != "skipped"]
    if attributes["format_version"] == 1:
        known = [name for name in known if name not in _SINCE_2]
    values = {name: attributes[name] for name in known}
    values["classes"] = tuple(str(name) for name in values["classes"])
    values |= {name: json.loads(values[name]) for name in JSON_FIELDS if name in values}
    if "skipped" in file:
        pairs = zip(file["skipped/paths"][()].tolist(), file["skipped/reasons"][()].tolist(), strict=True)
        values["skipped"] = tuple((path.decode(), reason.decode()) for path, reason in pairs)
    return Provenance(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _content_sha256_of_1(provenance: Provenance, arrays: dict[str, Arrays]) -> str:
    said = {name: value for name, value in asdict(provenance).items() if name not in _SINCE_2}
    digest = hashlib.sha256(canonical_json([1, said]).encode())
    for name, split in sorted(arrays.items()):
        shapes = [str(split["features"].dtype), list(split["features"].shape), str(split["labels"].dtype)]
        paths = [path.decode() for path in split["paths"].tolist()]
        digest.update(canonical_json([name, shapes, paths]).encode())
        digest.update(split["features"].tobytes())
        digest.update(split["labels"].tobytes())
    return digest.hexdigest()
