"""features.cache.earlier: files of formats 1 and 2, each written by the code of its version, are read and checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from changes import change_a_label, change_a_path, change_the_classes, drop_a_row, swap_two_rows

from features.cache.records import Skipped, Views
from features.cache.store import DamagedCache, read_features, verify_features
from features.cache.writer import join, write_features
from features.sources.catalogue import Selection

DATA = Path(__file__).parents[1] / "data"
FORMAT_1, FORMAT_2, SHARDS_2 = (DATA / name for name in ("format_1.h5", "format_2.h5", "format_2-*.h5"))
KNOWN_1 = "6d5cf528056a009ac551cf84bfdf3db3b21a60c2f6465ea428e2a4c4f93702d2"
KNOWN_2 = "65f7c38b6dc66a4aef0cfd1f1b11b8990dfdf6a876bcc47667d8b86e76b43061"
KNOWN_SHARDS_2 = "b09dceb8b23356cbd9b7361911f79556dd9c70376b3d9a1896c41ce396ceb96d"


def test_a_file_of_format_1_is_read() -> None:
    read = read_features(FORMAT_1)
    assert np.array_equal(read.train.features, np.arange(24, dtype=np.float32).reshape(3, 8))
    assert read.train.paths == ("train/blue/ä.png", "train/red/b.png", "train/red/c.png")
    assert read.val.labels.tolist() == [0, 1]
    assert read.known_as == (KNOWN_1,)
    said = read.provenance
    assert (said.note, said.dtype) == ("written by the code of format 1", "float32")
    assert (said.selection, said.runtime, said.views, said.skipped, said.shard) == (Selection(), None, None, (), None)
    assert read.train.digests is None


@pytest.mark.parametrize(("path", "known"), [(FORMAT_2, KNOWN_2), (SHARDS_2, KNOWN_SHARDS_2)])
def test_files_of_format_2_are_read(path: Path, known: str) -> None:
    read = read_features(path)
    assert np.array_equal(read.train.features, np.arange(24, dtype=np.float32).reshape(3, 8))
    assert np.array_equal(read.train.views, np.arange(48, dtype=np.float32).reshape(3, 2, 8))
    assert read.val.features[1, 7] == 115
    assert read.train.digests.shape == (3, 32)
    assert read.known_as == (known,)
    said = read.provenance
    assert (said.note, said.views) == ("written by the code of format 2", Views(count=2, seed=5))
    assert said.selection == Selection(classes=("blue", "red"), limit=3, seed=1)
    assert (said.runtime.name, said.precision) == ("torch", "float32")
    assert said.skipped == (Skipped("train/red/bad.png", "the file is empty (0 bytes)"),)
    assert (said.shard, said.taken_over) == (None, None)


@pytest.mark.parametrize("path", [FORMAT_1, FORMAT_2, SHARDS_2])
def test_the_identity_is_that_of_the_same_content_written_today(path: Path, tmp_path: Path) -> None:
    """And runs that recorded the fingerprint of their time still know the file, even after it is rewritten."""
    read, verified = read_features(path), verify_features(path)
    today = write_features(tmp_path / "f.h5", read.provenance, read.splits)
    assert read.content_sha256 == verified.content_sha256 == today.content_sha256
    files = sorted(path.parent.glob(path.name))
    moved = join(tmp_path / "g.h5", files, read.provenance, verified.known_as)
    again = read_features(tmp_path / "g.h5")
    assert (moved.content_sha256, again.known_as) == (read.content_sha256, read.known_as)
    for features in (read, again):
        assert features.matches(read.known_as[0])
        assert features.matches(read.content_sha256)
        assert not features.matches("0" * 64)


@pytest.mark.parametrize("path", [FORMAT_1, FORMAT_2])
@pytest.mark.parametrize("change", [swap_two_rows, change_a_label, change_a_path, change_the_classes, drop_a_row])
def test_a_file_that_was_changed(tmp_path: Path, change, path: Path) -> None:
    file = Path(shutil.copy(path, tmp_path))
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(DamagedCache, match="its contents do not match their checksum"):
        read_features(file)
