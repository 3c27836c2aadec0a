"""features.extract: a cache is kept while it is what was asked for; a target that can't be used is refused."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from extraction import ends_with, refusal

from features.cache.store import read_features
from features.cache.writer import join
from features.config import ExtractConfig
from features.extract import make_features


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5")


# Up to date or stale -------------------------------------------------------------------------------------------------


def test_an_up_to_date_cache_is_kept(config: ExtractConfig, made: bytes, capsys) -> None:
    modified = config.out.stat().st_mtime_ns
    make_features(config)
    assert ends_with(capsys.readouterr().out, ": up to date, same images, weights and transform")
    assert config.out.stat().st_mtime_ns == modified


@pytest.mark.usefixtures("quick_pass")
def test_other_images_make_it_stale(config: ExtractConfig, made: bytes, capsys) -> None:
    (Path(config.data) / "val/red/0.png").unlink()
    assert make_features(config).shapes["val"] == (4, 512)
    assert (
        f"making the features again: other images, labels or splits than those of {config.out}\n"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("quick_pass")
def test_other_weights_make_it_stale(
    config: ExtractConfig, made: bytes, random_weights: Path, tmp_path, capsys
) -> None:
    state = torch.load(random_weights, weights_only=True)
    state["conv1.weight"] *= 1.5
    torch.save(state, tmp_path / "random_resnet18.pth")
    make_features(dataclasses.replace(config, weights=str(tmp_path / "random_resnet18.pth")))
    assert f"making the features again: other weights than those of {config.out}\n" in capsys.readouterr().out
    assert config.out.read_bytes() != made


@pytest.mark.usefixtures("quick_pass")
def test_a_damaged_cache_is_made_again(config: ExtractConfig, made: bytes, capsys) -> None:
    config.out.write_bytes(made[:-1000])
    again = make_features(config)
    assert f"making the features again: {config.out} is damaged" in capsys.readouterr().out
    assert again.shapes["train"] == (8, 512)


@pytest.mark.usefixtures("quick_pass")
def test_force_computes_again(config: ExtractConfig, made: bytes, capsys) -> None:
    make_features(dataclasses.replace(config, force=True))
    assert re.search(r"made in \d+\.\d s$", capsys.readouterr().out)


def test_the_same_rows_computed_again_are_still_those_of_earlier_runs(config: ExtractConfig, made: bytes) -> None:
    before = read_features(config.out)
    join(config.out, [config.out], before.provenance, ["e" * 64])
    make_features(dataclasses.replace(config, force=True))
    after = read_features(config.out)
    assert after.content_sha256 == before.content_sha256
    assert after.matches("e" * 64)
    shutil.rmtree(Path(config.data) / "val/red")
    shutil.copytree(Path(config.data) / "val/blue", Path(config.data) / "val/red")
    make_features(config)
    assert read_features(config.out).known_as == ()


def test_images_that_moved_are_found_where_they_are_now(config: ExtractConfig, made: bytes, capsys) -> None:
    moved = Path(config.data).rename(Path(config.data).with_name("moved"))
    before = read_features(config.out)
    make_features(dataclasses.replace(config, data=str(moved)))
    assert ends_with(capsys.readouterr().out, ": up to date, same images, weights and transform")
    after = read_features(config.out)
    assert (after.provenance.data, after.provenance.data_location) == ("moved", str(moved))
    assert np.array_equal(after.train.features, before.train.features)


def test_relative_places_are_told_from_the_caches_folder(
    config: ExtractConfig, made: bytes, random_weights: Path, tmp_path: Path, monkeypatch
) -> None:
    shutil.copy(random_weights, tmp_path / "w.pth")
    monkeypatch.chdir(tmp_path)
    for out in (Path("out/f.h5"), config.out):
        said = make_features(dataclasses.replace(config, data="pictures", weights="w.pth", out=out)).provenance
        assert (said.data_location, said.weights_location) == ("../pictures", "../w.pth")
        assert (said.data, said.weights) == ("pictures", "w.pth")


# Targets that can't be used ------------------------------------------------------------------------------------------


def test_the_target_is_a_folder(config: ExtractConfig, tmp_path: Path) -> None:
    assert refusal(dataclasses.replace(config, out=tmp_path)) == (
        f"--out {tmp_path} is a folder; name a file, for example {tmp_path}/features.h5"
    )


def test_the_target_lies_below_a_file(config: ExtractConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(dataclasses.replace(config, out=tmp_path / "file/deep/f.h5")) == (
        f"--out {tmp_path}/file/deep/f.h5 lies below {tmp_path}/file, which is a file; name another place"
    )


def test_the_target_is_read_only(config: ExtractConfig, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    # Root may write everywhere, so the answer is given instead of the permission taken.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != folder)
    assert refusal(dataclasses.replace(config, out=folder / "new/f.h5")) == (
        f"--out {folder}/new/f.h5 can't be written: {folder} is read-only; name another place"
    )


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("offline", [False, True])
def test_a_foreign_file_is_never_replaced(config: ExtractConfig, tmp_path: Path, force: bool, offline: bool) -> None:
    thesis = tmp_path / "thesis.h5"
    with h5py.File(thesis, "w") as file:
        file["years"] = 5
    before = thesis.read_bytes()
    config = dataclasses.replace(config, out=thesis, force=force, offline=offline)
    if offline:
        config = dataclasses.replace(config, data="hymenoptera", weights="IMAGENET1K_V1")
    assert refusal(config) == (
        f"{thesis} is an HDF5 file, but no feature cache; name a file that `make features` made\n"
        "--out names a file that is not this program's to replace."
    )
    assert thesis.read_bytes() == before
