"""features.cache.writer: a cache is written whole or not at all, and joined from pieces without holding their rows."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import child, names_in, synthetic_provenance

from features.cache import store
from features.cache.featureset import Split
from features.cache.partfile import PartFile
from features.cache.store import DamagedCache, read_features, verify_features
from features.cache.writer import FeatureWriter, join, publish, write_features
from features.util.errors import InputError


def write(file: Path, rows: int = 6, **changes: str) -> None:
    """A small cache of ``rows`` training rows and 2 validation rows, 512 wide."""
    paths = {"train": tuple(f"train/{row}.png" for row in range(rows)), "val": ("val/ä.png", "val/b.png")}
    labels = {"train": tuple(row % 2 for row in range(rows)), "val": (0, 1)}
    values = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    with FeatureWriter(file, paths, labels, 512) as writer:
        for start in range(0, rows, 16):
            writer.write("train", start, values[start : start + 16])
        writer.write("val", 0, values[:2])
        writer.finish(replace(synthetic_provenance(), **changes))


# Writing and reading back --------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "f.h5"
    write(file, rows=100)
    read = read_features(file)
    expected = np.random.default_rng(0).normal(size=(100, 512)).astype(np.float32)
    assert np.array_equal(read.train.features, expected)
    assert np.array_equal(read.val.features, expected[:2])
    assert read.train.labels.tolist() == [0, 1] * 50
    assert read.val.paths == ("val/ä.png", "val/b.png")
    assert read.provenance == synthetic_provenance()
    assert (read.path, read.width) == (file, 512)
    assert names_in(file.parent) == ["f.h5"]


def test_the_layout_is_that_of_the_design(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", rows=100)
    with h5py.File(tmp_path / "f.h5") as file:
        assert set(file) == {"train", "val"}
        for group, rows in ((file["train"], 100), (file["val"], 2)):
            assert set(group) == {"features", "labels", "paths"}
            assert (group["features"].shape, group["features"].dtype) == ((rows, 512), np.float32)
            assert group["features"].chunks == (min(64, rows), 512)
            assert (group["labels"].shape, group["labels"].dtype) == ((rows,), np.int64)
            assert h5py.check_string_dtype(group["paths"].dtype).encoding == "utf-8"
            assert all(group[name].fletcher32 for name in group)
        assert set(file.attrs) == {
            "format_version", "complete", "content_sha256", "classes", "backbone", "weights", "weights_sha256",
            "transform", "data", "images_sha256", "data_location", "weights_location", "versions", "created", "note",
            "selection", "dtype", "runtime", "views", "shard", "rows_sha256",
        }  # fmt: skip
        assert file.attrs["format_version"] == 2
        assert list(file.attrs["classes"]) == ["blue", "red"]


def test_the_same_contents_have_the_same_fingerprint(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5")
    write(tmp_path / "c.h5", note="another note")
    a, b, c = (read_features(tmp_path / f"{name}.h5").content_sha256 for name in "abc")
    assert a == b != c


def test_rows_at_hand_are_written_the_same(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    a = read_features(tmp_path / "a.h5")
    b = write_features(tmp_path / "b.h5", a.provenance, a.splits)
    assert b.content_sha256 == a.content_sha256
    assert b.path == tmp_path / "b.h5"


def test_views_digests_and_what_was_skipped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train = Split(
        features=rng.normal(size=(70, 8)).astype(np.float32),
        labels=np.arange(70) % 2,
        paths=tuple(f"train/{row}.png" for row in range(70)),
        digests=rng.integers(0, 256, (70, 32), dtype=np.uint8),
        views=rng.normal(size=(70, 3, 8)).astype(np.float32),
    )
    val = replace(train, views=None)
    skipped = (("train/ä.png", "the file is empty (0 bytes)"), ("val/b.png", "truncated"))
    said = replace(synthetic_provenance(), views={"count": 3, "seed": 5}, skipped=skipped, selection={"limit": 7})
    written = write_features(tmp_path / "f.h5", said, {"train": train, "val": val})
    read = read_features(tmp_path / "f.h5")
    assert read.provenance == written.provenance == said
    assert np.array_equal(read.train.views, train.views)
    assert np.array_equal(read.train.digests, train.digests)
    assert read.val.views is None
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["train/views"].chunks == (21, 3, 8)
        assert all(file[name].fletcher32 for name in ("train/views", "train/digests", "skipped/paths"))


def test_float16_halves_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", rows=500)
    whole = read_features(tmp_path / "a.h5")
    half = write_features(tmp_path / "b.h5", replace(whole.provenance, dtype="float16"), whole.splits)
    read = read_features(tmp_path / "b.h5")
    assert read.train.features.dtype == np.float32
    assert np.array_equal(read.train.features, whole.train.features.astype(np.float16).astype(np.float32))
    assert half.provenance.dtype == "float16"
    assert (tmp_path / "b.h5").stat().st_size < 0.55 * (tmp_path / "a.h5").stat().st_size


def test_files_are_joined_in_order_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", 64 * 512 * 4)
    write(tmp_path / "a.h5", rows=100)
    write(tmp_path / "b.h5", rows=200)
    a, b = (read_features(tmp_path / f"{name}.h5") for name in "ab")
    made = join(tmp_path / "c.h5", [tmp_path / "a.h5", tmp_path / "b.h5"], a.provenance)
    read = read_features(tmp_path / "c.h5")
    assert np.array_equal(read.train.features, np.concatenate([a.train.features, b.train.features]))
    assert read.train.paths == a.train.paths + b.train.paths
    assert read.val.labels.tolist() == [0, 1, 0, 1]
    assert verify_features(tmp_path / "c.h5") == made
    assert names_in(tmp_path) == ["a.h5", "b.h5", "c.h5"]


def test_publish_verifies_before_it_renames(tmp_path: Path) -> None:
    write(tmp_path / "new.h5")
    (tmp_path / "final.h5").write_bytes(b"earlier")
    (tmp_path / "broken.h5").write_bytes((tmp_path / "new.h5").read_bytes()[:-100])
    with pytest.raises(DamagedCache):
        publish(tmp_path / "broken.h5", tmp_path / "final.h5")
    assert (tmp_path / "final.h5").read_bytes() == b"earlier"
    assert publish(tmp_path / "new.h5", tmp_path / "final.h5").path == tmp_path / "final.h5"
    assert names_in(tmp_path) == ["broken.h5", "final.h5"]


# Nothing half-written ------------------------------------------------------------------------------------------------


def one_row_missing(file: Path) -> None:
    with FeatureWriter(file, {"train": ("a", "b"), "val": ("c",)}, {"train": (0, 1), "val": (0,)}, 4) as writer:
        writer.write("train", 0, np.zeros((1, 4), np.float32))
        writer.write("val", 0, np.zeros((1, 4), np.float32))
        writer.finish(synthetic_provenance())


@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_with_a_missing_row_never_appears(tmp_path: Path, earlier: bool) -> None:
    file = tmp_path / "f.h5"
    if earlier:
        write(file)
    before = file.read_bytes() if earlier else None
    with pytest.raises(AssertionError, match="not every row was written"):
        one_row_missing(file)
    assert names_in(tmp_path) == (["f.h5"] if earlier else [])
    assert not earlier or file.read_bytes() == before


def test_an_interruption_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "f.h5"
    write(file)
    before = file.read_bytes()

    def interrupted() -> None:
        with FeatureWriter(file, {"train": ("a",), "val": ("b",)}, {"train": (0,), "val": (1,)}, 4) as writer:
            writer.write("train", 0, np.ones((1, 4), np.float32))
            assert names_in(tmp_path) == [".f.h5.part", "f.h5"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(tmp_path) == ["f.h5"]
    assert file.read_bytes() == before


def test_what_a_killed_run_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    killed = "import os, signal, pathlib, sys\n"
    killed += "from features.cache.writer import FeatureWriter\n"
    killed += "w = FeatureWriter(pathlib.Path(sys.argv[1]), {'train': ('a',), 'val': ('b',)}, "
    killed += "{'train': (0,), 'val': (1,)}, 4)\nos.kill(os.getpid(), signal.SIGKILL)"
    file = tmp_path / "f.h5"
    assert child(killed, str(file)).returncode == -9
    assert names_in(tmp_path) == [".f.h5.part"]
    write(file)
    assert names_in(tmp_path) == ["f.h5"]


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    file = tmp_path / "f.h5"
    with FeatureWriter(file, {"train": ("a",), "val": ("b",)}, {"train": (0,), "val": (1,)}, 4) as first:
        with pytest.raises(InputError) as caught:
            write(file)
        assert str(caught.value) == (f"another process is writing {file} just now; wait for it, or name another file")
        first.write("train", 0, np.ones((1, 4), np.float32))
        first.write("val", 0, np.ones((1, 4), np.float32))
        first.finish(synthetic_provenance())
    assert names_in(tmp_path) == ["f.h5"]
    write(file)
    assert len(read_features(file).train.labels) == 6


def test_a_writer_that_comes_as_another_finishes_spares_the_finished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has opened the unfinished file, the first finishes and renames it, the second gets the lock."""
    file = tmp_path / "f.h5"
    write(tmp_path / "whole.h5")
    part = tmp_path / ".f.h5.part"
    part.write_bytes((tmp_path / "whole.h5").read_bytes())
    lock = fcntl.flock

    def finish_first(*arguments: object) -> None:
        part.rename(file)
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with pytest.raises(InputError, match="another process is writing"):
        PartFile(file)
    assert file.read_bytes() == (tmp_path / "whole.h5").read_bytes()


# A full or failing disk ----------------------------------------------------------------------------------------------

WRITE_AND_REPORT = """
import sys
from pathlib import Path
from test_writer import write
from features.util.errors import run_command
sys.exit(run_command(lambda: write(Path(sys.argv[1]), rows=int(sys.argv[2]))))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount the small disk that this test fills")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("rows", [95, 102, 120, 2000])
def test_a_full_disk(small_disk: Path, rows: int) -> None:
    write(small_disk / "f.h5")
    before = (small_disk / "f.h5").read_bytes()
    ended = child(WRITE_AND_REPORT, str(small_disk / "f.h5"), str(rows))
    part = small_disk / ".f.h5.part"
    assert ended.stderr == (
        "error: the disk is full; free some space and run the same command again: "
        f"[Errno 28] No space left on device: '{part}'\n"
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert names_in(small_disk) == ["f.h5"]
    assert (small_disk / "f.h5").read_bytes() == before


@pytest.mark.parametrize("limit", [1000, 5000, 100_000, 220_000])
def test_a_limit_on_the_size_of_files(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "f.h5")
    before = (tmp_path / "f.h5").read_bytes()
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n{WRITE_AND_REPORT}"
    ended = child(limited, str(tmp_path / "f.h5"), "120")
    assert ended.stderr == (
        "error: the file is larger than the system's limit for one file; raise the limit (ulimit -f): "
        f"[Errno 27] File too large: '{tmp_path}/.f.h5.part'\n"
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert names_in(tmp_path) == ["f.h5"]
    assert (tmp_path / "f.h5").read_bytes() == before


def test_a_read_only_file_system(small_disk: Path) -> None:
    write(small_disk / "f.h5")
    before = (small_disk / "f.h5").read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = child(WRITE_AND_REPORT, str(small_disk / "f.h5"), "6")
    assert ended.stderr.startswith("error: the target is on a read-only file system; name another with --out")
    assert (ended.returncode, names_in(small_disk)) == (2, ["f.h5"])
    assert (small_disk / "f.h5").read_bytes() == before
