"""features.engines.cluster: a Ray cluster makes the same rows, and loses none when a process dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, names_in, wait_for
from kills import ray_processes

from features.cache.store import read_features, verify_features
from features.config import ExtractConfig
from features.extract import make_features, make_layers
from features.util.errors import InputError

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'ray[data]'")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its log files to the garbage collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two processes on this machine, for the tests in this one."""
    from features.engines.ray_cluster import connect

    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    connect(None, num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(
        data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5", shard_rows=3, workers=1
    )


@pytest.mark.slow
def test_the_same_rows_as_in_one_process(config: ExtractConfig, tmp_path: Path, capsys) -> None:
    (Path(config.data) / "val/red/bad.png").write_bytes(b"no image")
    config = replace(config, skip_bad=True, views=1)
    local = make_features(replace(config, out=tmp_path / "local.h5"))
    capsys.readouterr()
    made = make_features(replace(config, engine="ray"))
    assert made.content_sha256 == local.content_sha256
    assert replace(made.provenance, created="") == replace(local.provenance, created="")
    assert made.provenance.skipped == (("val/red/bad.png", "not an image that Pillow can read"),)
    assert names_in(config.out.parent) == ["f.h5"]
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "left out 1 unreadable image(s); the file lists them with the reasons"
    assert told[-1].startswith(f"{config.out}: train (8, 512), val (5, 512) float32, 1 views, classes blue, red: made")
    make_features(replace(config, engine="ray"))
    assert capsys.readouterr().out.splitlines()[-1].endswith(": up to date, same images, weights and transform")


@pytest.mark.slow
def test_shards_of_several_layers_and_going_on(config: ExtractConfig, tmp_path: Path, capsys) -> None:
    config = replace(config, layers=("layer1", "layer3"), shards=True)
    local = make_layers(replace(config, out=tmp_path / "local/f.h5"))
    config = replace(config, engine="ray")
    made = make_layers(config)
    assert [each.content_sha256 for each in made] == [each.content_sha256 for each in local]
    files = [f"f-{layer}-{index:05}-of-00005.h5" for layer in config.layers for index in range(5)]
    assert names_in(config.out.parent) == files
    (config.out.parent / files[2]).unlink()
    assert make_layers(config) == made
    assert "going on where an earlier run stopped: 11 of 13 images are done" in capsys.readouterr().out
    assert len(read_features(config.out.with_name("f-layer1-*.h5")).val.paths) == 5


def test_what_is_wrong_with_an_image_comes_back(config: ExtractConfig) -> None:
    (Path(config.data) / "val/red/0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 13 images in .* can't be read:\n  val/red/0\.png: not an image"):
        make_features(replace(config, engine="ray"))


def test_more_than_the_cluster_has(config: ExtractConfig) -> None:
    with pytest.raises(InputError, match=r"--workers is 64 .* the whole cluster has 2 cores and 0 GPUs; ask for less"):
        make_features(replace(config, engine="ray", workers=64))


def test_no_cluster_there(config: ExtractConfig) -> None:
    """In a process of its own: this one is connected already."""
    flags = ["--data", config.data, "--weights", config.weights, "--out", str(config.out)]
    ended = subprocess.run(
        [sys.executable, "-m", "features", *flags, "--engine", "ray", "--address", "127.0.0.1:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: there is no Ray cluster at --address 127.0.0.1:1")
    assert "Traceback" not in ended.stderr


def piece_makers(mark: str) -> list[int]:
    return ray_processes("PieceMaker", mark)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill in Linux's /proc")
def test_a_killed_worker_loses_nothing(config: ExtractConfig, tmp_path: Path) -> None:
    for index in range(90):
        shutil.copy(Path(config.data) / "train/red/0.png", Path(config.data) / f"train/red/copy{index}.png")
    flags = ["--data", config.data, "--weights", config.weights, "--out", str(config.out), "--shard-rows", "3"]
    mark = f"EXTRACTION_UNDER_TEST={tmp_path}"
    running = subprocess.Popen(
        [sys.executable, "-m", "features", *flags, "--workers", "1", "--batch", "1", "--engine", "ray"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict([mark.split("=", 1)]),
    )
    parts = config.out.with_name(".f.h5.parts")
    wait_for(lambda: len(list(parts.glob("*.h5"))) >= 2 and piece_makers(mark), seconds=240)
    killed = piece_makers(mark)[0]
    os.kill(killed, signal.SIGKILL)
    output, errors = running.communicate(timeout=240)
    assert running.returncode == 0, errors
    assert "train (98, 512), val (5, 512)" in output
    local = make_features(replace(config, out=tmp_path / "local.h5", batch=1))
    assert verify_features(config.out).content_sha256 == local.content_sha256
    assert names_in(config.out.parent) == ["f.h5"]
