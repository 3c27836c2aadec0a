"""features.cache.store: several shards are one data set; no other file is taken for one of them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.cache.featureset import Split
from features.cache.records import Shard, Skipped
from features.cache.store import read_features, shard_files, verify_features
from features.cache.writer import join, write_features
from features.util.errors import InputError


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
        skipped = (Skipped("train/bad.png", "empty"),) if index == 0 else ()
        said = replace(whole.provenance, shard=Shard(index=index, of=3), created=f"{index} o'clock", skipped=skipped)
        write_features(files[-1], said, {split: some})
    return files


def test_shards_are_read_as_one(shards: list[Path], feature_file: Path) -> None:
    whole = read_features(feature_file)
    read = read_features(feature_file.with_name("part-*.h5"))
    for split in ("train", "val"):
        assert np.array_equal(read.splits[split].features, whole.splits[split].features)
        assert np.array_equal(read.splits[split].labels, whole.splits[split].labels)
        assert read.splits[split].paths == whole.splits[split].paths
    assert read.provenance.shard is None
    assert read.provenance.skipped == (("train/bad.png", "empty"),)
    one, many = verify_features(feature_file), verify_features(feature_file.with_name("part-*.h5"))
    assert many.shapes == one.shapes == {"train": (24, 512), "val": (12, 512)}


def test_content_has_the_same_fingerprint_in_one_file_or_many(shards: list[Path], feature_file: Path) -> None:
    whole = verify_features(feature_file)
    joined = join(feature_file.with_name("joined.h5"), shards, whole.provenance)
    many = verify_features(feature_file.with_name("part-*.h5"))
    assert joined.content_sha256 == many.content_sha256 == whole.content_sha256


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
    said = replace(other.provenance, weights_sha256="0" * 64, shard=Shard(index=1, of=3))
    write_features(shards[1], said, {"train": other.train})
    assert refusal(folder / "part-*.h5").endswith(f"these differ from the first:\n  {shards[1]}")
    assert refusal(folder / "none-*.h5").startswith(f"there is no feature file {folder}/none-*.h5")


def test_names_that_only_resemble_those_of_shards_are_left_alone(shards: list[Path], feature_file: Path) -> None:
    folder = shards[0].parent
    for name in ("part-vit.h5", "part-mine-00000-of-00002.h5", "part-00000-of-3.h5", "other-00000-of-00003.h5"):
        shutil.copy(feature_file, folder / name)
    assert shard_files(folder / "part-*.h5") == shards
    assert verify_features(folder / "part-*.h5").shapes == {"train": (24, 512), "val": (12, 512)}


def test_reading_shards_hashes_each_byte_once(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []

    class Counting:
        def __init__(self, content: bytes = b"") -> None:
            self.digest_of = hashlib.new("sha256", content)
            hashed.append(len(content))

        def update(self, content: bytes) -> None:
            hashed.append(memoryview(content).nbytes)
            self.digest_of.update(content)

        def __getattr__(self, name: str) -> object:
            return getattr(self.digest_of, name)

    monkeypatch.setattr(hashlib, "sha256", Counting)
    read_features(shards[0].with_name("part-*.h5"))
    there = sum(file.stat().st_size for file in shards)
    assert there - 500 < sum(hashed) < 1.05 * there
