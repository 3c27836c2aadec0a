"""features.cache.store: a changed byte is never read as data, whatever the file's version, one file or many."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import child, write_feature_file

from features.cache.featureset import Split
from features.cache.store import DamagedCache, NotACache, read_features, verify_features
from features.cache.writer import join, write_features
from features.util.errors import InputError

FORMAT_1 = Path(__file__).parents[1] / "data" / "format_1.h5"
REMAKE = "make it again: python -m features --force  (or: make clean features)"


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


@pytest.mark.parametrize("version", [0, 3, "1.5"])
def test_an_unknown_version(feature_file: Path, version: int | str) -> None:
    with h5py.File(feature_file, "r+") as file:
        file.attrs["format_version"] = version
    with pytest.raises(NotACache) as caught:
        read_features(feature_file)
    assert str(caught.value) == (
        f"{feature_file} has format version {version}, this program reads versions 1 to 2; "
        "update the program, or make the features again into another file"
    )


def test_an_unfinished_file(feature_file: Path) -> None:
    with h5py.File(feature_file, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(DamagedCache) as caught:
        read_features(feature_file)
    assert str(caught.value) == f"{feature_file} is unfinished; {REMAKE}"


def swap_two_rows(file: h5py.File) -> None:
    rows = file["train/features"][:2]
    file["train/features"][:2] = rows[::-1]


def change_a_label(file: h5py.File) -> None:
    file["val/labels"][1] = 1 - file["val/labels"][1]


def change_a_path(file: h5py.File) -> None:
    file["val/paths"][0] = "val/red/99.png"


def change_the_classes(file: h5py.File) -> None:
    file.attrs["classes"] = ["red", "blue"]


def change_the_weights(file: h5py.File) -> None:
    file.attrs["weights_sha256"] = "0" * 64


def drop_a_row(file: h5py.File) -> None:
    for name in ("features", "labels", "paths"):
        rows = file["val"][name][:-1]
        del file["val"][name]
        file["val"][name] = rows


def change_the_type(file: h5py.File) -> None:
    rows = file["val/features"][()]
    del file["val/features"]
    file["val/features"] = rows.astype(np.float64)


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
    write_features(feature_file, replace(read.provenance, skipped=(("train/a.png", "truncated"),)), read.splits)
    with h5py.File(feature_file, "r+") as file:
        file["skipped/reasons"][0] = "empty"
    with pytest.raises(DamagedCache, match="its contents do not match their checksum"):
        read_features(feature_file)


@pytest.mark.parametrize("missing", ["train", "val/features", "train/labels", "val/paths"])
def test_a_missing_part(feature_file: Path, missing: str) -> None:
    with h5py.File(feature_file, "r+") as file:
        del file[missing]
    with pytest.raises(DamagedCache, match=r"is damaged.*; make it again: python -m features --force"):
        read_features(feature_file)


def test_a_missing_attribute(feature_file: Path) -> None:
    with h5py.File(feature_file, "r+") as file:
        del file.attrs["note"]
    with pytest.raises(DamagedCache, match=r"is damaged \('note'\); make it again"):
        read_features(feature_file)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_file(feature_file: Path, tenths: int) -> None:
    whole = feature_file.read_bytes()
    feature_file.write_bytes(whole[: len(whole) * tenths // 10])
    with pytest.raises(DamagedCache, match=r"is damaged \(.*\); make it again: python -m features --force"):
        read_features(feature_file)


# Other versions and several files ------------------------------------------------------------------------------------


def test_a_file_of_format_1_is_read() -> None:
    """Written by the code of that version."""
    read = read_features(FORMAT_1)
    assert np.array_equal(read.train.features, np.arange(24, dtype=np.float32).reshape(3, 8))
    assert read.train.paths == ("train/blue/ä.png", "train/red/b.png", "train/red/c.png")
    assert read.val.labels.tolist() == [0, 1]
    assert read.content_sha256 == "6d5cf528056a009ac551cf84bfdf3db3b21a60c2f6465ea428e2a4c4f93702d2"
    said = read.provenance
    assert (said.note, said.dtype) == ("written by the code of format 1", "float32")
    assert (said.selection, said.runtime, said.views, said.skipped, said.shard) == ({}, {}, {}, (), {})
    assert read.train.digests is None


@pytest.mark.parametrize("change", [swap_two_rows, change_a_label, change_a_path, change_the_classes, drop_a_row])
def test_a_file_of_format_1_that_was_changed(tmp_path: Path, change) -> None:
    file = Path(shutil.copy(FORMAT_1, tmp_path))
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(DamagedCache, match="its contents do not match their checksum"):
        read_features(file)


@pytest.fixture
def shards(feature_file: Path) -> list[Path]:
    """``feature_file`` in three shards beside it: 16 and 8 training rows, and the 12 of ``val``."""
    whole = read_features(feature_file)
    parts = [("train", slice(0, 16)), ("train", slice(16, 24)), ("val", slice(0, 12))]
    files = []
    for index, (split, rows) in enumerate(parts):
        of = whole.splits[split]
        some = Split(features=of.features[rows], labels=of.labels[rows], paths=of.paths[rows])
        files.append(feature_file.with_name(f"part-{index:05}-of-00003.h5"))
        skipped = (("train/bad.png", "empty"),) if index == 0 else ()
        said = replace(whole.provenance, shard={"index": index, "of": 3}, created=f"{index} o'clock", skipped=skipped)
        write_features(files[-1], said, {split: some})
    return files


def test_shards_are_read_as_one(shards: list[Path], feature_file: Path) -> None:
    whole = read_features(feature_file)
    read = read_features(feature_file.with_name("part-*.h5"))
    for split in ("train", "val"):
        assert np.array_equal(read.splits[split].features, whole.splits[split].features)
        assert np.array_equal(read.splits[split].labels, whole.splits[split].labels)
        assert read.splits[split].paths == whole.splits[split].paths
    assert read.provenance.shard == {}
    assert read.provenance.skipped == (("train/bad.png", "empty"),)
    one, many = verify_features(feature_file), verify_features(feature_file.with_name("part-*.h5"))
    assert many.shapes == one.shapes == {"train": (24, 512), "val": (12, 512)}


def test_rows_have_the_same_fingerprint_in_one_file_or_many(shards: list[Path], feature_file: Path) -> None:
    joined = join(feature_file.with_name("joined.h5"), shards, verify_features(feature_file).provenance)
    assert joined.rows_sha256 == verify_features(feature_file).rows_sha256
    assert joined.content_sha256 == verify_features(feature_file).content_sha256


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_features(path)
    return str(caught.value)


def test_a_shard_alone_is_no_data_set(shards: list[Path]) -> None:
    folder = shards[0].parent
    assert refusal(shards[1]) == f"{shards[1]} is shard 2 of 3; name them all: '{folder}/part-*.h5'"


def test_missing_and_foreign_shards_are_named(shards: list[Path], feature_file: Path) -> None:
    folder = shards[0].parent
    shards[1].rename(folder / "elsewhere.h5")
    assert refusal(folder / "part-*.h5") == (
        f"{folder}/part-*.h5 matches 2 of 3 shards; missing: 1. The command that made them makes the missing ones when "
        "it is run again."
    )
    other = read_features(folder / "synthetic.h5")
    said = replace(other.provenance, weights_sha256="0" * 64, shard={"index": 1, "of": 3})
    write_features(shards[1], said, {"train": other.train})
    assert refusal(folder / "part-*.h5").endswith(f"these differ from the first:\n  {shards[1]}")
    assert refusal(folder / "none-*.h5").startswith(f"there is no feature file {folder}/none-*.h5")


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
    assert 5000 < len(structure) < 12_000
    (tmp_path / "offsets.json").write_text(json.dumps([(offset, rng.randrange(8)) for offset in offsets]))
    ended = child(READ_FLIPPED, str(file), str(tmp_path / "offsets.json"))
    assert (ended.stdout, ended.stderr, ended.returncode) == ("tried 500\n", "", 0)
