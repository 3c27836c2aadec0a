"""features.cache.writer: a cache is written whole or not at all, and joined from pieces without holding their rows."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from caches import write
from conftest import child, names_in, synthetic_provenance

from features.cache import rows as row_module
from features.cache import writer
from features.cache.featureset import Split
from features.cache.records import Skipped, Views
from features.cache.store import open_cache, read_features, verify_features
from features.cache.writer import FeatureWriter, join, write_features
from features.sources.catalogue import Selection
from features.util.errors import InputError

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
            assert set(group) == {"features", "labels", "paths", "rows"}
            assert (group["rows"].shape, group["rows"].dtype) == ((rows, 32), np.uint8)
            assert (group["features"].shape, group["features"].dtype) == ((rows, 512), np.float32)
            assert group["features"].chunks == (min(64, rows), 512)
            assert (group["labels"].shape, group["labels"].dtype) == ((rows,), np.int64)
            assert h5py.check_string_dtype(group["paths"].dtype).encoding == "utf-8"
        assert set(file.attrs) == {
            "format_version", "complete", "content_sha256", "classes", "backbone", "weights", "weights_sha256",
            "transform", "data", "images_sha256", "data_location", "weights_location", "versions", "created", "note",
            "selection", "dtype", "runtime", "views", "shard", "taken_over", "known_as",
        }  # fmt: skip
        assert file.attrs["format_version"] == 3
        assert list(file.attrs["classes"]) == ["blue", "red"]


def test_the_content_is_rows_labels_classes_and_paths_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    read = read_features(tmp_path / "a.h5")
    described = {"created": "2027", "note": "another note", "data_location": "elsewhere", "weights_location": "w2"}
    write(tmp_path / "b.h5", **described)
    assert read_features(tmp_path / "b.h5").content_sha256 == read.content_sha256
    train, others = read.train, []
    for change in (
        {"features": train.features + np.float32(1e-6)},
        {"labels": 1 - train.labels},
        {"paths": train.paths[::-1]},
        {"views": train.features[:, None]},
    ):
        others.append(
            write_features(tmp_path / "c.h5", read.provenance, read.splits | {"train": replace(train, **change)})
        )
    others.append(write_features(tmp_path / "c.h5", replace(read.provenance, classes=("red", "blue")), read.splits))
    swapped = {"train": replace(train, **vars(read.val)), "val": train}
    others.append(write_features(tmp_path / "c.h5", read.provenance, swapped))
    assert len({read.content_sha256, *(other.content_sha256 for other in others)}) == 7


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
    skipped = (Skipped("train/ä.png", "the file is empty (0 bytes)"), Skipped("val/b.png", "truncated"))
    said = replace(synthetic_provenance(), views=Views(count=3, seed=5), skipped=skipped, selection=Selection(limit=7))
    written = write_features(tmp_path / "f.h5", said, {"train": train, "val": val})
    read = read_features(tmp_path / "f.h5")
    assert read.provenance == written.provenance == said
    assert np.array_equal(read.train.views, train.views)
    assert np.array_equal(read.train.digests, train.digests)
    assert read.val.views is None
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["train/views"].chunks == (21, 3, 8)


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
    monkeypatch.setattr(row_module, "BLOCK_BYTES", 64 * 512 * 4)
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


@pytest.mark.parametrize(
    ("name", "content"),
    [("train/features", np.float32(1.5).tobytes() * 8), ("labels", np.array([7, 1]).tobytes()), ("paths", b"a.png")],
)
def test_what_the_disk_gives_back_otherwise_takes_no_name(
    tmp_path: Path, monkeypatch, name: str, content: bytes
) -> None:
    """The earlier file stays."""
    (tmp_path / "final.h5").write_bytes(b"earlier")

    def flipped(part: Path) -> AbstractContextManager[h5py.File]:
        with part.open("r+b") as file:
            file.seek(file.read().index(content))
            file.write(bytes([content[0] ^ 1]))
        return open_cache(part)

    with FeatureWriter(tmp_path / "final.h5", {"train": ("a.png", "b.png")}, {"train": (7, 1)}, 8) as unfinished:
        unfinished.write("train", 0, np.full((2, 8), 1.5, np.float32))
        monkeypatch.setattr(writer, "open_cache", flipped)
        with pytest.raises(InputError, match=f"the disk gives other {name} back than were written"):
            unfinished.finish(replace(synthetic_provenance(), classes=tuple("abcdefgh")))
    assert (tmp_path / "final.h5").read_bytes() == b"earlier"
    assert names_in(tmp_path) == ["final.h5"]


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
            assert names_in(tmp_path) == [".f.h5.part", ".f.h5.part.lock", "f.h5"]
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
    assert names_in(tmp_path) == [".f.h5.part", ".f.h5.part.lock"]
    write(file)
    assert names_in(tmp_path) == ["f.h5"]
