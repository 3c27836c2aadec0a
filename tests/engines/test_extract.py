"""features.extract: rows are torchvision's, and what is left out or added is recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import names_in
from extraction import ends_with, refusal
from PIL import Image
from torch import nn

from features import extract
from features.backbone import network as backbone
from features.backbone.record import RuntimeRecord
from features.backbone.runtime import Runtime
from features.cache import rows
from features.cache.records import Views
from features.cache.store import read_features
from features.config import ExtractConfig
from features.engines import local
from features.extract import make_features
from features.sources.catalogue import Selection
from features.sources.check import Checked, file_digests, images_sha256
from features.sources.images import open_images
from features.util.errors import InputError
from features.util.provenance import versions


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5")


# The rows ------------------------------------------------------------------------------------------------------------


def test_rows_are_those_of_torchvision_image_by_image(made_once: Path, picture_folder: Path, random_weights: Path):
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(torch.load(random_weights, weights_only=True))
    network.fc = nn.Identity()
    network.eval()
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    read = read_features(made_once)
    for split in (read.train, read.val):
        for path, row in zip(split.paths, split.features, strict=True):
            with torch.inference_mode():
                expected = network(preset(Image.open(picture_folder / path).convert("RGB"))[None])[0]
            np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5)


def test_an_extraction_says_all_it_knows(config: ExtractConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config = dataclasses.replace(config, note="drawn by a test")
    made = make_features(config)
    *_, speed, last = capsys.readouterr().out.splitlines()
    times = ", ".join(rf"{work} \d+\.\d s" for work in ("read", "decode", "network", "write"))
    assert re.fullmatch(rf"\d+\.\d images a second; {times} \(side by side, so that they overlap\)", speed)
    assert re.fullmatch(
        rf"{config.out}: train \(8, 512\), val \(5, 512\) float32, classes blue, red: made in \d+\.\d s", last
    )
    assert names_in(config.out.parent) == ["f.h5"]
    found = read_features(config.out)
    assert found.content_sha256 == made.content_sha256
    assert found.train.labels.tolist() == [0] * 4 + [1] * 4
    assert found.val.paths == tuple(f"val/{name}/{i}.png" for name, n in (("blue", 2), ("red", 3)) for i in range(n))
    said = found.provenance
    found_images = open_images(config.data)
    assert (said.classes, said.backbone, said.data, said.note) == (
        ("blue", "red"),
        "resnet18",
        "pictures",
        "drawn by a test",
    )
    assert (said.data_location, said.weights_location) == (config.data, config.weights)
    assert said.images_sha256 == images_sha256(found_images, file_digests(found_images))
    assert said.versions == versions()
    # A colour is enough to tell the classes apart, even for a random network.
    means = [found.train.features[found.train.labels == label].mean(axis=0) for label in (0, 1)]
    nearest = np.linalg.norm(found.val.features[:, None] - np.stack(means), axis=2).argmin(axis=1)
    assert nearest.tolist() == found.val.labels.tolist()


@pytest.mark.parametrize(("batch", "workers"), [(3, 4), (100, 1)])
def test_batch_and_workers_do_not_change_rows(made_once: Path, config: ExtractConfig, batch: int, workers: int) -> None:
    reference = read_features(made_once)
    make_features(dataclasses.replace(config, batch=batch, workers=workers))
    other = read_features(config.out)
    for split in ("train", "val"):
        np.testing.assert_allclose(other.splits[split].features, reference.splits[split].features, rtol=0, atol=1e-5)


def test_an_unknown_network_ends_before_any_download(config: ExtractConfig, monkeypatch) -> None:
    monkeypatch.setattr(extract.images, "open_images", lambda *_, **__: pytest.fail("the images were opened"))
    assert refusal(dataclasses.replace(config, backbone="resnet19")).startswith("resnet19 is no classification model")


def test_an_image_that_changes_during_the_run_is_named(config: ExtractConfig, monkeypatch) -> None:
    check = extract.check.check_images

    def check_then_change(*arguments: object) -> Checked:
        checked = check(*arguments)
        shutil.copy(Path(config.data) / "train/red/2.png", Path(config.data) / "train/red/1.png")
        return checked

    monkeypatch.setattr(extract.check, "check_images", check_then_change)
    assert refusal(config) == (
        "an image changed while it was being used:\n"
        "  train/red/1.png: its contents are others than before\n"
        "Run the same command again."
    )
    assert names_in(config.out.parent) == []


def test_unreadable_images_stop_the_run_before_the_network_works(config: ExtractConfig, made: bytes) -> None:
    (Path(config.data) / "train/red/new.png").write_bytes(b"no image")
    (Path(config.data) / "val/blue/none.png").touch()
    with pytest.raises(InputError, match=r"2 of 15 images in .* can't be read"):
        make_features(config)
    assert names_in(config.out.parent) == ["f.h5"]
    assert config.out.read_bytes() == made


def test_weights_that_give_no_finite_numbers(config: ExtractConfig, random_weights: Path, tmp_path: Path) -> None:
    state = torch.load(random_weights, weights_only=True)
    state["conv1.weight"][:] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"the weights nan\.pth give features that are not finite numbers"):
        make_features(dataclasses.replace(config, weights=str(tmp_path / "nan.pth")))
    assert names_in(config.out.parent) == []


@pytest.mark.usefixtures("quick_pass")
def test_left_out_files_and_shared_images_are_told(config: ExtractConfig, made: bytes, capsys) -> None:
    pictures = Path(config.data)
    (pictures / "train/red/notes.txt").touch()
    shutil.copy(pictures / "train/red/0.png", pictures / "val/red/0.png")
    make_features(config)
    told = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"left out 1 file\(s\) hidden or not named as images \(.*\): train/red/notes\.txt", told[0])
    assert told[1] == ("warning: 1 validation image(s) are also training images; accuracy is flattered: val/red/0.png")


# What is left out, and what is added ---------------------------------------------------------------------------------


def test_unreadable_images_are_left_out_on_demand(config: ExtractConfig, capsys) -> None:
    (Path(config.data) / "train/red/new.png").write_bytes(b"no image")
    (Path(config.data) / "val/blue/none.png").touch()
    made = make_features(dataclasses.replace(config, skip_bad=True))
    assert made.shapes == {"train": (8, 512), "val": (5, 512)}
    assert read_features(config.out).provenance.skipped == (
        ("train/red/new.png", "not an image that Pillow can read"),
        ("val/blue/none.png", "the file is empty (0 bytes)"),
    )
    told = "left out 2 unreadable image(s); the file lists them with the reasons"
    assert told in capsys.readouterr().out.splitlines()
    make_features(dataclasses.replace(config, skip_bad=True))
    assert ends_with(capsys.readouterr().out, ": up to date, same images, weights and transform")
    assert "2 of 15 images" in refusal(config)


def test_a_split_is_made_and_recorded(config: ExtractConfig, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for name in ("blue", "red"):
        shutil.copytree(Path(config.data) / "train" / name, whole / name)
    made = make_features(dataclasses.replace(config, data=str(whole), split=0.25, seed=3))
    assert made.shapes == {"train": (6, 512), "val": (2, 512)}
    assert made.provenance.selection == Selection(split=0.25, seed=3)
    again = make_features(dataclasses.replace(config, data=str(whole), split=0.25, seed=4, force=True))
    assert again.content_sha256 != made.content_sha256


def test_few_images_of_each_class(config: ExtractConfig) -> None:
    made = make_features(dataclasses.replace(config, limit=2))
    assert made.shapes == {"train": (4, 512), "val": (4, 512)}
    assert made.provenance.selection == Selection(limit=2, seed=0)


def test_views_stand_beside_the_plain_rows(config: ExtractConfig, made_once: Path, tmp_path: Path) -> None:
    made = make_features(dataclasses.replace(config, views=3, seed=5))
    assert made.provenance.views == Views(count=3, seed=5)
    read, plain = read_features(config.out), read_features(made_once)
    np.testing.assert_allclose(read.train.features, plain.train.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(read.val.features, plain.val.features, rtol=0, atol=1e-5)
    assert read.val.views is None
    assert read.train.views.shape == (8, 3, 512)
    differences = np.abs(read.train.views - read.train.features[:, None]).max(axis=2)
    assert (differences > 0.01).all()
    # The same from the same seed, in whatever pieces; others from another.
    again = dataclasses.replace(config, views=3, seed=5, shard_rows=3, batch=5, out=tmp_path / "again.h5")
    make_features(again)
    np.testing.assert_allclose(read_features(again.out).train.views, read.train.views, rtol=0, atol=1e-5)
    other = make_features(dataclasses.replace(config, views=3, seed=6, out=tmp_path / "other.h5"))
    assert np.abs(read_features(other.path).train.views - read.train.views).max() > 0.01


def test_a_view_is_that_of_its_seed_and_path(config: ExtractConfig, random_weights: Path) -> None:
    """Made again by hand: the view of one image, straight through torchvision's network."""
    make_features(dataclasses.replace(config, views=2, seed=5))
    loaded = backbone.load_backbone("resnet18", str(random_weights))
    path = "train/red/1.png"
    rng = np.random.default_rng([5, 1, int.from_bytes(hashlib.sha256(path.encode()).digest())])
    pixels = loaded.preprocess.view(Image.open(Path(config.data) / path).convert("RGB"), rng)
    with torch.inference_mode():
        expected = loaded.model(loaded.preprocess.normalise(torch.from_numpy(pixels))[None])[0]
    read = read_features(config.out).train
    np.testing.assert_allclose(read.views[read.paths.index(path), 1], expected, rtol=0, atol=1e-5)


def test_float16(config: ExtractConfig, made_once: Path, capsys) -> None:
    made = make_features(dataclasses.replace(config, dtype="float16"))
    assert str(made) == f"{config.out}: train (8, 512), val (5, 512) float16, classes blue, red"
    half, whole = read_features(config.out).train.features, read_features(made_once).train.features
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, whole, rtol=2**-11, atol=1e-5)
    capsys.readouterr()
    make_features(config)
    assert f"making the features again: other dtype than those of {config.out}\n" in capsys.readouterr().out


def test_a_feature_too_large_for_float16(config: ExtractConfig, monkeypatch) -> None:
    huge = Runtime(
        records=(RuntimeRecord(name="huge"),), run=lambda pixels: np.full((len(pixels), 512), 7e4, np.float32)
    )
    monkeypatch.setattr(local, "open_runtime", lambda *_, **__: huge)
    assert refusal(dataclasses.replace(config, dtype="float16")) == (
        "a feature is 70000, more than --dtype float16 holds; store these as float32"
    )


def test_another_backbone(config: ExtractConfig, tmp_path: Path) -> None:
    torch.save(torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "w.pth")
    changed = {"backbone": "shufflenet_v2_x0_5", "weights": str(tmp_path / "w.pth")}
    made = make_features(dataclasses.replace(config, **changed))
    assert made.shapes == {"train": (8, 1024), "val": (5, 1024)}
    assert made.provenance.backbone == "shufflenet_v2_x0_5"


@pytest.mark.usefixtures("quick_pass")
def test_memory_does_not_grow_with_the_images(config: ExtractConfig, monkeypatch) -> None:
    """Rows leave with their piece: what stays of an image is its path, label and fingerprint."""
    monkeypatch.setattr(rows, "BLOCK_BYTES", 1 << 17)
    pictures = Path(config.data)
    peaks = []
    for count in (200, 200, 2000):
        for index in range(count):
            place = pictures / f"train/red/copy{index:05}.png"
            if not place.exists():
                place.hardlink_to(pictures / "train/red/0.png")
        tracemalloc.start()
        make_features(dataclasses.replace(config, shard_rows=64, batch=2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 1800 * 1024  # half of what the rows alone would take
