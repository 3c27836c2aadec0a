"""features.cache.store: a changed byte is never read as data, whatever the file's version, one file or many."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from changes import (
    change_a_label,
    change_a_path,
    change_the_classes,
    change_the_type,
    change_the_weights,
    drop_a_row,
    swap_two_rows,
)
from conftest import child, write_feature_file

from features.cache import store
from features.cache.records import Skipped
from features.cache.store import DamagedCache, NotACache, read_features, verify_features
from features.cache.writer import write_features
from features.util.errors import InputError

REMAKE = "make it again: python -m features --data … --out … --force  (or: make features DATA=… FEATURES_ARGS=--force)"


# Refusals ------------------------------------------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    file = tmp_path / "f.h5"
    with pytest.raises(InputError) as caught:
        read_features(file)
    assert str(caught.value) == (
        f"there is no feature file {file}; make it: python -m features --out {file}  (or: make features)"
    )


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\3\4" + bytes(100), b"\x89HDF\r\n\x1a"])
def test_a_file_that_is_no_hdf5(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "f.h5"
    file.write_bytes(content)
    with pytest.raises(NotACache) as caught:
        read_features(file)
    assert str(caught.value) == (
        f"{file} ({len(content)} bytes) is no feature cache; name a file that `make features` made"
    )


def test_a_foreign_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["train"] = np.zeros(3)
    with pytest.raises(NotACache) as caught:
        read_features(tmp_path / "f.h5")
    assert str(caught.value) == (
        f"{tmp_path}/f.h5 is an HDF5 file, but no feature cache; name a file that `make features` made"
    )


@pytest.mark.parametrize("version", [0, 5, "1.5"])
def test_an_unknown_version(feature_file: Path, version: int | str) -> None:
    with h5py.File(feature_file, "r+") as file:
        file.attrs["format_version"] = version
    with pytest.raises(NotACache) as caught:
        read_features(feature_file)
    assert str(caught.value) == (
        f"{feature_file} has format version {version}, this program reads versions 1 to 4; "
        "update the program, or make the features again into another file"
    )


def test_an_unfinished_file(feature_file: Path) -> None:
    with h5py.File(feature_file, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(DamagedCache) as caught:
        read_features(feature_file)
    assert str(caught.value) == f"{feature_file} is unfinished; {REMAKE}"


@pytest.mark.parametrize(
    "change",
    [
        swap_two_rows,
        change_a_label,
        change_a_path,
        change_the_classes,
        change_the_weights,
        drop_a_row,
        change_the_type,
    ],
)
def test_contents_changed_with_hdf5_itself(feature_file: Path, change) -> None:
    with h5py.File(feature_file, "r+") as file:
        change(file)
    with pytest.raises(DamagedCache) as caught:
        read_features(feature_file)
    assert str(caught.value) == f"{feature_file} is damaged: its contents do not match their checksum; {REMAKE}"


def test_what_was_skipped_is_covered_too(feature_file: Path) -> None:
    read = read_features(feature_file)
    write_features(feature_file, replace(read.provenance, skipped=(Skipped("train/a.png", "truncated"),)), read.splits)
    with h5py.File(feature_file, "r+") as file:
        file["skipped/reasons"][0] = "empty"
    with pytest.raises(DamagedCache, match="its contents do not match their checksum"):
        read_features(feature_file)


@pytest.mark.parametrize("missing", ["train", "val/features", "train/labels", "val/paths"])
def test_a_missing_part(feature_file: Path, missing: str) -> None:
    with h5py.File(feature_file, "r+") as file:
        del file[missing]
    with pytest.raises(DamagedCache, match=r"is damaged.*; make it again: python -m features --data "):
        read_features(feature_file)


def test_a_missing_attribute(feature_file: Path) -> None:
    with h5py.File(feature_file, "r+") as file:
        del file.attrs["note"]
    with pytest.raises(DamagedCache, match=r"is damaged.*; make it again"):
        read_features(feature_file)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_file(feature_file: Path, tenths: int) -> None:
    whole = feature_file.read_bytes()
    feature_file.write_bytes(whole[: len(whole) * tenths // 10])
    with pytest.raises(DamagedCache, match=r"is damaged \(.*\); make it again: python -m features --data "):
        read_features(feature_file)


# Once a process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch) -> list[None]:
    """One entry each time that a file's bytes are hashed."""
    hashed: list[None] = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(store.hashlib, "sha256", lambda *data: hashed.append(None) or sha256(*data))
    return hashed


@pytest.fixture
def later(monkeypatch) -> None:
    """Any file was written ten seconds ago or more."""
    now = time.time_ns
    monkeypatch.setattr(store.time, "time_ns", lambda: now() + 10**10)


@pytest.mark.usefixtures("later")
def test_the_bytes_of_a_file_are_hashed_once(feature_file: Path, hashed) -> None:
    assert verify_features(feature_file) == verify_features(feature_file)
    assert len(hashed) == 1


def test_the_bytes_of_a_file_just_written_are_hashed_each_time(feature_file: Path, hashed) -> None:
    assert verify_features(feature_file) == verify_features(feature_file)
    assert len(hashed) == 2


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_changed_since_it_was_hashed(feature_file: Path, replaced: bool) -> None:
    verify_features(feature_file)
    before = feature_file.stat()
    altered = bytearray(feature_file.read_bytes())
    altered[-100] ^= 1
    time.sleep(0.05)  # the step of the file system's clock
    written = feature_file.with_name("other.h5") if replaced else feature_file
    written.write_bytes(altered)
    os.utime(written, ns=(before.st_atime_ns, before.st_mtime_ns))
    written.replace(feature_file)
    with pytest.raises(DamagedCache, match="its contents do not match their checksum"):
        verify_features(feature_file)


# Every byte counts ---------------------------------------------------------------------------------------------------

READ_FLIPPED = """
import json, sys
from pathlib import Path
from features.util.errors import InputError
from features.cache.store import read_features

file, offsets = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
whole = file.read_bytes()
content = read_features(file).content_sha256
flipped = file.with_name("flipped.h5")
for offset, bit in offsets:
    altered = bytearray(whole)
    altered[offset] ^= 1 << bit
    flipped.write_bytes(altered)
    try:
        same = read_features(flipped).content_sha256 == content
    except InputError as error:
        assert str(flipped) in str(error)
        continue
    except BaseException as error:
        sys.exit(f"byte {offset}, bit {bit}: {error!r}")
    if not same:
        sys.exit(f"byte {offset}, bit {bit}: wrong data")
print("tried", len(offsets))
"""


def test_a_flipped_bit_anywhere_is_never_read_as_other_data(tmp_path: Path) -> None:
    """Samples of what is no feature (HDF5's own structures, labels, paths, attributes) and of the features."""
    file = write_feature_file(tmp_path / "whole.h5")
    in_features = np.zeros(file.stat().st_size, dtype=bool)
    with h5py.File(file) as opened:
        for split in opened:
            features = opened[split]["features"].id
            for chunk in map(features.get_chunk_info, range(features.get_num_chunks())):
                in_features[chunk.byte_offset : chunk.byte_offset + chunk.size] = True
    rng = random.Random(0)
    structure = np.flatnonzero(~in_features).tolist()
    offsets = rng.sample(structure, 400) + rng.sample(np.flatnonzero(in_features).tolist(), 100)
    assert 5000 < len(structure) < 15_000
    (tmp_path / "offsets.json").write_text(json.dumps([(offset, rng.randrange(8)) for offset in offsets]))
    ended = child(READ_FLIPPED, str(file), str(tmp_path / "offsets.json"))
    assert (ended.stdout, ended.stderr, ended.returncode) == ("tried 500\n", "", 0)
