"""Files of named arrays: ``.npz``, ``.npy``, ``.h5`` and ``.pt``.

An array of features has the shape (N, D), one of labels (N,). Arrays of several splits, ``X_train`` and ``X_test`` or
``train/features`` and ``val/features``, follow one another.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from features.exchange.table import (
    BLOCK_BYTES,
    SPLIT_NAMES,
    USUAL,
    Columns,
    Format,
    Table,
    find_column,
    not_found,
    sliced,
    texts,
)
from features.sources.catalogue import SPLITS
from features.util.errors import InputError, first_line

KINDS = ("features", "labels", "ids", "splits")


def table_of(arrays: Mapping[str, Any], columns: Columns, place: Path) -> Table:
    """The table in named arrays; each has ``shape`` and ``dtype``, and slices to NumPy arrays.

    Raises:
        InputError: if features are missing, or shapes don't fit together.
    """
    parts = [_part(arrays, columns, place, split) for split in (None, *SPLIT_NAMES)]
    parts = [part for part in parts if part]
    if not parts:
        raise not_found(place, "features", list(arrays))
    whole = parts[0]["split"] is None
    # One split is for validation: of val and test, the former.
    kept = {SPLIT_NAMES[part["split"]]: part for part in reversed(parts[whole:])}
    parts = parts[:1] if whole else [kept[split] for split in SPLITS if split in kept]
    for part in parts:
        _refuse_shapes(part, place)
    widths = {part["features"].shape[1] for part in parts}
    if len(widths) > 1:
        raise InputError(f"features of {place} have {' and '.join(map(str, sorted(widths)))} columns in its splits")
    lengths = [len(part["features"]) for part in parts]
    splits = _joined(parts, "splits")
    if not whole and splits is None:
        splits = np.repeat([part["split"] for part in parts], lengths)
    named = next((name for name in USUAL["classes"] if name in arrays), None)
    classes = None if named is None else tuple(texts(np.asarray(arrays[named][:])).tolist())

    used = {named, *(name for part in parts for name in part["names"])}

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            features = part["features"]
            yield from features.blocks() if isinstance(features, _Streamed) else sliced(features)

    return Table(
        width=widths.pop(),
        labels=_joined(parts, "labels"),
        ids=_joined(parts, "ids"),
        splits=splits,
        classes=classes,
        blocks=blocks,
        left_out=tuple((name, "") for name in arrays if name not in used),
    )


def _part(arrays: Mapping[str, Any], columns: Columns, place: Path, split: str | None) -> dict[str, Any]:
    """The arrays of one split by kind, or of all rows; {} where there are none."""
    if split is None:
        there = {name: name for name in arrays}
    else:
        there = {}
        for name in arrays:
            for separator in ("_", "/", "."):
                if name.startswith(f"{split}{separator}"):
                    there[name.removeprefix(f"{split}{separator}")] = name
                elif name.endswith(f"{separator}{split}"):
                    there[name.removesuffix(f"{separator}{split}")] = name
        columns = Columns() if not set(there) & {columns.features, columns.labels} else columns
    found: dict[str, Any] = {}
    names = []
    for kind in KINDS:
        column = find_column(columns, kind, list(there), place)
        if column is not None:
            names.append(there[column])
            found[kind] = arrays[there[column]]
    return found | {"split": split, "names": names} if "features" in found else {}


def _refuse_shapes(part: dict[str, Any], place: Path) -> None:
    shape = tuple(part["features"].shape)
    if len(shape) != 2 or not shape[1]:
        raise InputError(f"features of {place} have shape {shape}; (rows, features) is wanted")
    for kind in KINDS[1:]:
        if kind in part and tuple(part[kind].shape) != shape[:1]:
            raise InputError(f"{place} has {shape[0]} rows of features, and {kind} of shape {tuple(part[kind].shape)}")


def _joined(parts: list[dict[str, Any]], kind: str) -> np.ndarray | None:
    if any(kind not in part for part in parts):
        return None
    return np.concatenate([np.asarray(part[kind][:]) for part in parts])


@dataclass(frozen=True)
class _Streamed:
    """An array of NumPy's own format that is read from its start, so that it never lies in memory as a whole.

    Attributes:
        open: Opens the stream, its header included.
        shape, dtype: Of the array.
    """

    open: Callable[[], AbstractContextManager[IO[bytes]]]
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *self.blocks()])[rows]

    def blocks(self) -> Iterator[np.ndarray]:
        """The array's rows in order."""
        row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        rows = max(1, BLOCK_BYTES // max(1, row_bytes))
        with self.open() as stream:
            _header(stream)
            for start in range(0, len(self), rows):
                count = min(rows, len(self) - start)
                yield np.frombuffer(stream.read(count * row_bytes), self.dtype).reshape(count, *self.shape[1:])


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(archive) as opened, opened.open(name) as stream:
        yield stream


def _streamed(place: str, opener: Callable[[], AbstractContextManager[IO[bytes]]]) -> Any:
    """The array behind a stream; one that is stored column by column is read as a whole."""
    with opener() as stream:
        shape, transposed, dtype = _header(stream)
    if dtype.hasobject:
        raise InputError(f"{place} holds pickled objects; save it as plain numbers or text, as array.astype(str) is")
    if transposed and len(shape) > 1:
        with opener() as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    return _Streamed(opener, shape, dtype)


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def read_npz(file: Path, columns: Columns) -> Table:
    """The table in a ``.npz``, as ``numpy.savez`` writes it."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.namelist()
        arrays = {
            name.removesuffix(".npy"): _streamed(f"{name} in {file}", partial(_member, file, name)) for name in members
        }
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise InputError(f"{file} is no .npz, or a damaged one ({first_line(error)})") from error
    return table_of({name: array for name, array in arrays.items() if array.shape}, columns, file)


def read_npy(file: Path, columns: Columns) -> Table:
    """The features in a ``.npy``, with the labels in another one: ``--label``, else NAME.labels.npy or labels.npy."""
    beside = [file.with_name(f"{file.stem}.labels.npy"), file.with_name("labels.npy")]
    given = None if columns.optional else columns.labels
    labels = Path(given).expanduser() if given else next((f for f in beside if f.exists()), None)
    if labels is not None and not labels.exists():
        raise InputError(f"--label is {labels}, and there is no such file; of a .npy it is the file of labels")
    arrays = {"features": _npy(file)} | ({} if labels is None else {"labels": _npy(labels)})
    return table_of(arrays, Columns(), file)


def _npy(file: Path) -> Any:
    try:
        return _streamed(str(file), lambda: file.open("rb"))
    except (ValueError, EOFError) as error:
        raise InputError(f"{file} is no .npy, or a damaged one ({first_line(error)})") from error


def read_hdf5(file: Path, columns: Columns) -> Table:
    """The table in an HDF5 file that is no cache of ours: its data sets, in groups or not, are the arrays."""
    import h5py

    try:
        opened = h5py.File(file, "r")  # It stays open as long as the table is in use.
    except OSError as error:
        raise InputError(f"{file} is no HDF5 file, or a damaged one ({first_line(error)})") from error
    if "content_sha256" in opened.attrs:
        raise InputError(f"{file} is a cache already; train on it: python -m pipeline train --features {file}")
    arrays: dict[str, Any] = {}
    opened.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return table_of(arrays, columns, file)


def read_torch(file: Path, columns: Columns) -> Table:
    """The table in a ``.pt``: a dict of tensors and lists of texts, as ``torch.save`` writes it. No code in it runs."""
    import torch

    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise InputError(f"{file} is no .pt of plain tensors, or a damaged one ({first_line(error)})") from error
    if not isinstance(found, Mapping):
        raise InputError(f"{file} holds a {type(found).__name__}; a dict is wanted, of features, labels, …")
    arrays = {}
    for name, value in found.items():
        if isinstance(value, torch.Tensor) and value.ndim:
            arrays[str(name)] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        elif isinstance(value, (list, tuple)):
            arrays[str(name)] = np.array(value)
    return table_of(arrays, columns, file)


def _ending(*endings: str) -> Any:
    return lambda path: path.suffix.lower() in endings and path.is_file()


NPZ = Format(takes=".npz", claims=_ending(".npz"), read=read_npz)
NPY = Format(takes=".npy", claims=_ending(".npy"), read=read_npy)
HDF5 = Format(takes=".h5", claims=_ending(".h5", ".hdf5"), read=read_hdf5)
TORCH = Format(takes=".pt", claims=_ending(".pt", ".pth"), read=read_torch)
