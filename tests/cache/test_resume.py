"""An extraction that is killed at any moment is gone on with, and ends in the rows of an undisturbed one."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, child, names_in, wait_for

from features.backbone.network import Backbone
from features.backbone.runtime import Runtime, open_runtime
from features.cache.featureset import FeatureFile
from features.cache.pieces import PieceFolder
from features.cache.store import read_features, verify_features
from features.config import ExtractConfig
from features.engines import local
from features.extract import make_features


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    """Thirteen pictures in seven pieces."""
    return ExtractConfig(
        data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5", shard_rows=2, batch=2
    )


@pytest.fixture
def mean_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of the network, which costs a second or two each time: what is kept does not depend on it."""

    def colours(pixels: np.ndarray) -> np.ndarray:
        return np.repeat(pixels.mean(axis=(2, 3), dtype=np.float32), 171, axis=1)[:, :512]

    def opened(backbone: Backbone, **_: object) -> Runtime:
        return replace(open_runtime(backbone, runtime="torch"), run=colours)

    monkeypatch.setattr(local, "open_runtime", opened)


def same_data(made: FeatureFile, other: FeatureFile) -> bool:
    fingerprints = ("content_sha256", "shapes")
    said = ("classes", "images_sha256", "weights_sha256", "transform")
    return all(getattr(made, name) == getattr(other, name) for name in fingerprints) and all(
        getattr(made.provenance, name) == getattr(other.provenance, name) for name in said
    )


# Killed at any moment ------------------------------------------------------------------------------------------------


def start(python: Path, config: ExtractConfig, *more: str) -> subprocess.Popen[str]:
    """The extraction in a process of its own."""
    flags = ["--data", config.data, "--weights", config.weights, "--out", str(config.out)]
    flags += ["--shard-rows", str(config.shard_rows), "--batch", str(config.batch), *more]
    return subprocess.Popen(
        [python, "-m", "features", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C; where the tests run as one, this process must not inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def many(config: ExtractConfig) -> ExtractConfig:
    """As many pictures as take some seconds."""
    pictures = Path(config.data)
    for index in range(30):
        shutil.copy(pictures / f"train/red/{index % 4}.png", pictures / f"train/red/copy{index}.png")
    return config


def finished(out: Path) -> int:
    return len(list(out.with_name(f".{out.name}.parts").glob("*.h5")))


def test_killed_and_gone_on_with(config: ExtractConfig, warm_python: Path, tmp_path: Path, capsys) -> None:
    config = many(config)
    for _ in range(2):
        before = finished(config.out)
        running = start(warm_python, config)
        wait_for(lambda before=before: finished(config.out) >= before + 2, seconds=60)
        running.kill()
        running.communicate()
    done = finished(config.out)
    assert not config.out.exists()
    made = make_features(config)
    said = capsys.readouterr().out.splitlines()
    assert said[-3] == f"going on where an earlier run stopped: {2 * done} of 43 images are done"
    undisturbed = make_features(replace(config, out=tmp_path / "undisturbed.h5"))
    assert same_data(made, undisturbed)
    assert names_in(config.out.parent) == ["f.h5"]


@pytest.mark.parametrize("earlier", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_finished(config: ExtractConfig, warm_python: Path, earlier: bool) -> None:
    config = many(config)
    if earlier:
        config.out.parent.mkdir()
        shutil.copy(ROOT / "features/data/hymenoptera.h5", config.out)
    running = start(warm_python, config)
    wait_for(lambda: finished(config.out) >= 3, seconds=60)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    done = finished(config.out)
    assert (running.returncode, errors) == (
        130,
        f"\nstopped by Ctrl-C; {done} of 22 pieces are finished and kept: run the same command again to go on from "
        "there\n",
    )
    assert done >= 3
    assert names_in(config.out.parent) == [".f.h5.parts", *(["f.h5"] if earlier else [])]


@pytest.mark.usefixtures("mean_colours")
def test_two_at_once_into_one_target(config: ExtractConfig, warm_python: Path, monkeypatch) -> None:
    """The second comes while the first is at its second piece."""
    write, endings = PieceFolder.write, []

    def while_another_comes(self: PieceFolder, *arguments: object) -> None:
        if finished(config.out) == 1:
            second = start(warm_python, config)
            endings.append((second.communicate(timeout=60)[1], second.returncode))
        write(self, *arguments)

    monkeypatch.setattr(PieceFolder, "write", while_another_comes)
    made = make_features(config)
    said = f"error: another process is writing {config.out} just now; wait for it, or name another file\n"
    assert endings == [(said, 2)]
    assert verify_features(config.out) == made


# What of an interrupted run is used ----------------------------------------------------------------------------------


def interrupted(config: ExtractConfig, monkeypatch: pytest.MonkeyPatch, after: int, done: int = 0) -> None:
    """A run that ends after so many pieces, where so many were done before."""
    write, written = PieceFolder.write, []

    def some(self: PieceFolder, *arguments: object) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(write(self, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(PieceFolder, "write", some)
        with pytest.raises(KeyboardInterrupt, match=f"{done + after} of 7 pieces are finished"):
            make_features(config)


def going_on(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("going on")]


@pytest.mark.usefixtures("mean_colours")
def test_only_the_missing_pieces_are_made(config: ExtractConfig, monkeypatch, capsys) -> None:
    interrupted(config, monkeypatch, after=5)
    pieces = {file: file.stat().st_mtime_ns for file in (config.out.parent / ".f.h5.parts").glob("*.h5")}
    assert len(pieces) == 5
    interrupted(config, monkeypatch, after=1, done=5)
    assert all(file.stat().st_mtime_ns == modified for file, modified in pieces.items())
    make_features(config)
    assert going_on(capsys) == [f"going on where an earlier run stopped: {n} of 13 images are done" for n in (10, 12)]


@pytest.mark.usefixtures("mean_colours")
@pytest.mark.parametrize("change", ["image", "rows"])
def test_rows_of_unchanged_images_are_used_in_other_pieces(
    config: ExtractConfig, monkeypatch, capsys, change: str
) -> None:
    interrupted(config, monkeypatch, after=3)
    if change == "image":
        (Path(config.data) / "train/blue/0.png").unlink()
    make_features(replace(config, shard_rows=3) if change == "rows" else config)
    done = {"image": "5 of 12", "rows": "6 of 13"}[change]
    assert going_on(capsys) == [f"going on where an earlier run stopped: {done} images are done"]
    assert names_in(config.out.parent) == ["f.h5"]


@pytest.mark.usefixtures("mean_colours")
@pytest.mark.parametrize("change", ["weights", "views", "dtype"])
def test_pieces_of_another_extraction_are_not_used(
    config: ExtractConfig, monkeypatch, capsys, tmp_path: Path, change: str
) -> None:
    interrupted(config, monkeypatch, after=3)
    if change == "weights":
        import torch

        state = torch.load(config.weights, weights_only=True)
        state["conv1.weight"] *= 1.5
        torch.save(state, tmp_path / "other.pth")
    changes = {"weights": {"weights": str(tmp_path / "other.pth")}, "views": {"views": 1}}
    changes["dtype"] = {"dtype": "float16"}
    make_features(replace(config, **changes[change]))
    assert going_on(capsys) == []
    assert names_in(config.out.parent) == ["f.h5"]


@pytest.mark.usefixtures("mean_colours")
def test_a_damaged_piece_is_made_again(config: ExtractConfig, monkeypatch, capsys) -> None:
    interrupted(config, monkeypatch, after=3)
    file = sorted((config.out.parent / ".f.h5.parts").glob("*.h5"))[1]
    with h5py.File(file, "r+") as opened:
        opened["train/labels"][0] = 1 - opened["train/labels"][0]
    make_features(config)
    assert going_on(capsys) == ["going on where an earlier run stopped: 4 of 13 images are done"]


@pytest.mark.usefixtures("mean_colours")
def test_an_image_that_changed_after_its_piece_is_noticed(config: ExtractConfig, monkeypatch, tmp_path: Path) -> None:
    interrupted(config, monkeypatch, after=3)
    shutil.copy(Path(config.data) / "train/blue/1.png", Path(config.data) / "train/blue/0.png")
    made = make_features(config)
    assert same_data(made, make_features(replace(config, out=tmp_path / "g.h5")))


# A full disk ---------------------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (14_000, 14_000))
sys.argv[0] = "features"
runpy.run_module("features", run_name="__main__")
"""


def test_a_full_disk_keeps_the_finished_pieces(
    config: ExtractConfig, warm_python: Path, tmp_path: Path, capsys
) -> None:
    """Pieces of two rows fit, the file of all thirteen does not: a limit on a file's size stands in for the disk."""
    flags = ["--data", config.data, "--weights", config.weights, "--out", str(config.out), "--shard-rows", "2"]
    ended = child(ON_A_SMALL_DISK, *flags, "--batch", "2", python=warm_python)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "error: the file is larger than the system's limit for one file; raise the limit (ulimit -f): "
        f"[Errno 27] File too large: '{tmp_path}/out/.f.h5.part'"
    )
    assert names_in(config.out.parent) == [".f.h5.parts"]
    assert finished(config.out) == 7
    made = make_features(config)
    assert going_on(capsys) == ["going on where an earlier run stopped: 13 of 13 images are done"]
    assert same_data(made, make_features(replace(config, out=tmp_path / "g.h5")))


# Shards --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("mean_colours")
def test_shards_hold_the_same_rows_as_the_file(config: ExtractConfig, tmp_path: Path) -> None:
    one = make_features(config)
    many_files = make_features(replace(config, out=tmp_path / "shards/f.h5", shards=True))
    assert names_in(tmp_path / "shards") == [f"f-{index:05}-of-00007.h5" for index in range(7)]
    assert many_files.path == tmp_path / "shards/f-*.h5"
    assert same_data(one, many_files)
    read, whole = read_features(many_files.path), read_features(one.path)
    assert np.array_equal(read.train.features, whole.train.features)
    assert read.val.paths == whole.val.paths


@pytest.mark.usefixtures("mean_colours")
def test_shards_are_kept_renewed_and_replaced(config: ExtractConfig, capsys) -> None:
    config = replace(config, shards=True)
    make_features(config)
    make_features(config)
    assert capsys.readouterr().out.splitlines()[-1].endswith(": up to date, same images, weights and transform")
    (config.out.parent / "f-00003-of-00007.h5").unlink()
    make_features(config)
    assert going_on(capsys) == ["going on where an earlier run stopped: 11 of 13 images are done"]
    assert len(names_in(config.out.parent)) == 7
    make_features(replace(config, shard_rows=5))
    capsys.readouterr()
    make_features(replace(config, shard_rows=5, force=True))
    assert names_in(config.out.parent) == [f"f-{index:05}-of-00003.h5" for index in range(3)]
