"""features.cache.partfile: one writer at a time; a full or failing disk leaves nothing half-written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from caches import write
from conftest import child, names_in, synthetic_provenance

from features.cache.partfile import PartFile, lock_file, locked, unfinished
from features.cache.store import read_features
from features.cache.writer import FeatureWriter
from features.util.errors import InputError


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


def test_a_lock_leaves_no_file_and_one_that_lost_its_name_locks_nothing(tmp_path: Path) -> None:
    """A process that opened the file before the other removed it must not believe that it has the lock."""
    final = tmp_path / "f.h5"
    path = unfinished(final)
    with locked(path, final):
        assert names_in(tmp_path) == [".f.h5.part.lock"]
        late = os.open(lock_file(path), os.O_RDWR)
        with pytest.raises(InputError, match="another process is writing"):
            PartFile(final)
    assert names_in(tmp_path) == []
    with locked(path, final), pytest.raises(InputError), locked(path, final):
        pass
    os.close(late)
    assert names_in(tmp_path) == []


def test_a_lock_file_that_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    lock_file(unfinished(tmp_path / "f.h5")).touch()
    write(tmp_path / "f.h5")
    assert names_in(tmp_path) == ["f.h5"]


# A full or failing disk ----------------------------------------------------------------------------------------------

WRITE_AND_REPORT = """
import sys
from pathlib import Path
from caches import write
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
