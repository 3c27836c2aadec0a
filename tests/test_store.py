"""features.store: a cache is written whole or not at all, and a changed byte is never read as data."""

from __future__ import annotations

import fcntl
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import names_in, synthetic_provenance, write_feature_file

from features.errors import InputError
from features.store import (
    DamagedCache,
    FeatureWriter,
    NotACache,
    _PartFile,
    publish,
    read_features,
    write_features,
)

ROOT = Path(__file__).parents[1]
REMAKE = "make it again: python -m features --force  (or: make clean features)"


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
        }  # fmt: skip
        assert file.attrs["format_version"] == 1
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
    killed = "import os, signal, test_store, pathlib, sys\n"
    killed += "from features.store import FeatureWriter\n"
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
        _PartFile(file)
    assert file.read_bytes() == (tmp_path / "whole.h5").read_bytes()


# A full or failing disk ----------------------------------------------------------------------------------------------

WRITE_AND_REPORT = """
import sys
from pathlib import Path
from test_store import write
from features.errors import run_command
sys.exit(run_command(lambda: write(Path(sys.argv[1]), rows=int(sys.argv[2]))))
"""


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: HDF5 crashes the process if it is told of a failed write."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )


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


@pytest.mark.parametrize("version", [0, 2, "1.5"])
def test_an_unknown_version(feature_file: Path, version: int | str) -> None:
    with h5py.File(feature_file, "r+") as file:
        file.attrs["format_version"] = version
    with pytest.raises(NotACache) as caught:
        read_features(feature_file)
    assert str(caught.value) == (
        f"{feature_file} has format version {version}, this program reads version 1; "
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
    file["val/labels"][3] = 1 - file["val/labels"][3]


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


# Every byte counts ---------------------------------------------------------------------------------------------------

READ_FLIPPED = """
import json, sys
from pathlib import Path
from features.errors import InputError
from features.store import read_features

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
