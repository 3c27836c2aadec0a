"""Reading a feature cache: one HDF5 file, or several shards of one data set, refused when it is not what it says.

Layout (format 3; 4 where the attribute ``layer`` says that the features are a layer's)::

    /            attributes: format_version, complete, content_sha256, and the fields of Provenance
    /train, /val
        features (N, D) float32 or float16, chunked by rows
        labels   (N,)   int64    index into the attribute `classes`
        paths    (N,)   UTF-8    relative to the data set's folder
        rows     (N, 32) uint8   SHA-256 of each row (:mod:`features.cache.rows`)
        digests  (N, 32) uint8   SHA-256 of each image (where recorded)
        views    (N, V, D)       features of V augmented views (train only, where asked for)
    /skipped     paths, reasons: images left out as unreadable (where there are any)

Behind HDF5's own end stands a seal, the SHA-256 of every byte before it. It is checked first, because HDF5 itself may
loop for ever in a damaged file, and it is all that a reader checks: each byte is hashed once, and one flipped bit is
one clear error. The rows' own fingerprints say what the content is, not whether the file is whole. For formats 1 and 2
see :mod:`features.cache.earlier`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np

from features.cache.earlier import SINCE_2, SINCE_3, SINCE_4, recorded_content
from features.cache.featureset import FeatureFile, FeatureSet, Split
from features.cache.records import Provenance
from features.cache.rows import BLOCK_BYTES, content_sha256
from features.sources.catalogue import SPLITS
from features.util.errors import InputError, first_line, listing
from features.util.memory import free_memory, gigabytes
from features.util.provenance import canonical_json

FORMAT_VERSION = 4
# The `*` in the name of a set of shards stands for this, and for nothing else: features-00003-of-00040.h5.
SHARD_NUMBERS = r"\d{5,}-of-\d{5,}"
# The fields that are JSON texts in the file.
JSON_FIELDS = ("versions", "selection", "runtime", "views", "shard", "taken_over", "layer")

Arrays = dict[str, np.ndarray]


class NotACache(InputError):
    """The file is something else, or of a version this program does not know: it is not ours to replace."""


class DamagedCache(InputError):
    """The file is a feature cache, but unfinished, truncated or altered: it can be made again."""


def read_features(path: Path) -> FeatureSet:
    """Read and verify a whole data set into memory.

    Args:
        path: A cache, or with a ``*`` in its name, the shards of one: ``features-*.h5``.

    Raises:
        InputError: if there is no such file, shards are missing or of different data sets, or memory does not suffice.
        OSError: if it may not be read.
        NotACache: if it is no feature cache, or of an unknown version.
        DamagedCache: if it is unfinished, truncated or altered.
    """
    return read_rows(verify_features(path))


def read_rows(found: FeatureFile, splits: Sequence[str] = SPLITS) -> FeatureSet:
    """Read the rows of a verified data set into memory; raises as :func:`read_features` does.

    Args:
        found: The data set.
        splits: The splits whose rows are wanted.
    """
    wanted = [split for split in splits if split in found.shapes]
    needed, free = sum(map(found.memory, wanted)), free_memory()
    if needed > free:
        raise InputError(
            f"the rows of {found.path} ({', '.join(wanted)}) take {gigabytes(needed)} in memory, and {gigabytes(free)} "
            "are free; `train` of one head and `eval` read such rows from the disk as they go, the rest needs fewer "
            "rows (--limit of stage 1) or more memory"
        )
    rows: dict[str, list[Arrays]] = {split: [] for split in wanted}
    for path in shard_files(found.path):
        with _open_sound(path) as file:
            for split in wanted:
                if split in file:
                    rows[split].append({name: file[split][name][()] for name in file[split] if name != "rows"})
    return FeatureSet(**vars(found), splits={split: _split(parts) for split, parts in rows.items()})


def verify_features(path: Path) -> FeatureFile:
    """Verify a whole data set without holding its rows in memory; raises as :func:`read_features` does."""
    from tqdm import tqdm

    files = tqdm(shard_files(path), unit="file", desc="verify", leave=False, delay=2, disable=None)
    return as_one(path, [verify_file(file) for file in files])


def verify_file(path: Path, *, sealed: bool = False) -> FeatureFile:
    """Verify one file, be it a whole data set or a shard; raises as :func:`read_features` does.

    Args:
        path: The file.
        sealed: Whether its seal is known to hold, because it has just been made.
    """
    shard_files(path)
    with path.open("rb") as start:
        if start.read(len(_HDF5_SIGNATURE)) != _HDF5_SIGNATURE:
            raise NotACache(f"{path} ({path.stat().st_size} bytes) is no feature cache; {_NAME_ANOTHER}")
    sealed = sealed or _is_sealed(path)
    with _open_sound(path) as file:
        version = _refuse_unknown(path, file)
        if not file.attrs.get("complete", False):
            raise DamagedCache(f"{path} is unfinished; {_REMAKE}")
        provenance = _read_provenance(file, version)
        shapes = {split: tuple(file[split]["features"].shape) for split in SPLITS if split in file}
        if version >= 3:
            content = str(file.attrs["content_sha256"]) if sealed else None
            known_as = tuple(map(str, file.attrs["known_as"]))
        else:
            recorded = recorded_content(file, provenance, sealed)
            content = content_sha256([file], provenance.classes) if recorded else None
            known_as = (recorded or "",)
    if content is None:
        raise _altered(path)
    return FeatureFile(path=path, provenance=provenance, content_sha256=content, known_as=known_as, shapes=shapes)


def as_one(path: Path, files: list[FeatureFile]) -> FeatureFile:
    """The data set that verified files make: one whole file, or all shards of a set.

    Raises:
        InputError: if they do not belong together, or some are missing.
    """
    shards = [file.provenance.shard for file in files]
    if shards == [None]:
        return files[0]
    numbers = [shard.index for shard in shards if shard is not None]
    of = max((shard.of for shard in shards if shard is not None), default=1)
    if len(files) == 1 and of > 1 and "*" not in path.name:
        pattern = path.with_name(re.sub(SHARD_NUMBERS, "*", path.name))
        raise InputError(f"{path} is shard {numbers[0] + 1} of {of}; name them all: '{pattern}'")
    common = [_shared(file.provenance) for file in files]
    odd = [str(file.path) for file, shared in zip(files, common, strict=True) if shared != common[0]]
    if odd or None in shards:
        raise InputError(
            f"the files {path} are not shards of one data set; these differ from the first:\n{listing(odd)}"
        )
    missing = sorted(set(range(of)) - set(numbers))
    if missing or len(files) != of:
        shown = ", ".join(str(index) for index in missing[:20]) + (", …" if len(missing) > 20 else "")
        raise InputError(
            f"{path} matches {len(files)} of {of} shards; missing: {shown or 'none, but some are there twice'}. "
            "The command that made them makes the missing ones when it is run again."
        )
    with ExitStack() as stack:
        opened = [stack.enter_context(open_cache(file.path)) for file in files]
        content = content_sha256(opened, files[0].provenance.classes)
    shapes: dict[str, tuple[int, int]] = {}
    for file in files:
        for split, (n, width) in file.shapes.items():
            shapes[split] = (shapes.get(split, (0, width))[0] + n, width)
    # Shards of format 2 were known by the fingerprint over theirs.
    recorded = [file.known_as[0] for file in files if file.known_as]
    known_as = (hashlib.sha256(canonical_json(recorded).encode()).hexdigest(),) if len(recorded) == of else ()
    return FeatureFile(
        path=path,
        provenance=replace(files[0].provenance, shard=None),
        content_sha256=content,
        known_as=known_as,
        shapes=shapes,
    )


def shard_files(path: Path) -> list[Path]:
    """The files that ``path`` names, in the order of their numbers: itself, or the shards that its ``*`` stands for.

    Raises:
        InputError: if there is none.
    """
    found = [path]
    if "*" in path.name:
        pattern = re.compile(SHARD_NUMBERS.join(map(re.escape, path.name.split("*"))))
        found = sorted(file for file in path.parent.glob(path.name) if pattern.fullmatch(file.name))
    if not found or not all(file.is_file() for file in found):
        raise InputError(
            f"there is no feature file {path}; make it: python -m features --out {path}  (or: make features)"
        )
    return found


def image_digests(files: Iterable[Path]) -> set[str]:
    """SHA-256, in hex, of all images whose rows are in these files. Damaged files, and those of format 1, give none."""
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
    """The seal of a finished file: a mark, and the SHA-256 of all bytes of the file."""
    with path.open("rb") as file:
        return _SEAL + hashlib.file_digest(file, "sha256").digest()


_SEAL = b"sealed\r\n"
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NAME_ANOTHER = "name a file that `make features` made"
_REMAKE = "make it again: python -m features --data … --out … --force  (or: make features DATA=… FEATURES_ARGS=--force)"


@contextmanager
def _open_sound(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; where HDF5's structures or checksums do not hold, the file is damaged."""
    try:
        with open_cache(path) as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises a dozen kinds
        raise DamagedCache(f"{path} is damaged ({first_line(error)}); {_REMAKE}") from error


# Files whose seal held, by what the system says of them: within one process each is hashed once, for a cache of some GB
# takes seconds. Whoever writes to a file or replaces it changes its size, a time or its inode.
_SOUND: set[tuple[int, ...]] = set()
# Two changes this close can bear the same time (FAT's step, the coarsest): such a file is hashed again.
_SAME_TIME_NS = 2 * 10**9


def _is_sealed(path: Path) -> bool:
    """Whether a file has its seal; files of format 1, and those that HDF5 has written to since, have none.

    Raises:
        DamagedCache: if it has, but for other bytes.
    """
    with path.open("rb") as file:
        now, status = time.time_ns(), os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if identity in _SOUND:
            return True
        size = status.st_size - _SEAL_BYTES
        digest = hashlib.sha256()
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
        raise _altered(path)
    if now - max(status.st_mtime_ns, status.st_ctime_ns) > _SAME_TIME_NS:
        _SOUND.add(identity)
    return True


def _altered(path: Path) -> DamagedCache:
    return DamagedCache(f"{path} is damaged: its contents do not match their checksum; {_REMAKE}")


def _refuse_unknown(path: Path, file: h5py.File) -> int:
    """The format version of an open file."""
    version = file.attrs.get("format_version")
    if version is None:
        raise NotACache(f"{path} is an HDF5 file, but no feature cache; {_NAME_ANOTHER}")
    if version not in range(1, FORMAT_VERSION + 1):
        raise NotACache(
            f"{path} has format version {version}, this program reads versions 1 to {FORMAT_VERSION}; "
            "update the program, or make the features again into another file"
        )
    return int(version)


def _read_provenance(file: h5py.File, version: int) -> Provenance:
    later = {1: SINCE_2 + SINCE_3 + SINCE_4, 2: SINCE_3 + SINCE_4, 3: SINCE_4}.get(version, ())
    names = [item.name for item in fields(Provenance) if item.name not in (*later, "skipped")]
    values = {name: file.attrs[name] for name in names}
    values |= {name: json.loads(values[name]) for name in JSON_FIELDS if name in values}
    if "skipped" in file:
        pairs = zip(file["skipped/paths"][()].tolist(), file["skipped/reasons"][()].tolist(), strict=True)
        values["skipped"] = [(path.decode(), reason.decode()) for path, reason in pairs]
    return Provenance.from_record(values)


def _shared(provenance: Provenance) -> Provenance:
    """What all shards of a set have in common; the first alone lists the skipped images."""
    return replace(provenance, created="", note="", shard=None, skipped=(), taken_over=None)


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
