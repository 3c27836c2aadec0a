"""features.extract: rows are torchvision's, caches are known by their fingerprints, fallbacks say what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torchvision
from conftest import Web, names_in
from PIL import Image
from torch import nn
from weights import sha256, weights_at

from features import extract
from features.backbone import network as backbone
from features.backbone.runtime import Runtime, open_runtime
from features.cache import store
from features.cache.featureset import FeatureFile
from features.cache.store import read_features, verify_features
from features.cache.writer import write_features
from features.config import ExtractConfig
from features.engines import local
from features.extract import make_features
from features.sources import download
from features.sources.images import Checked, decode, file_digests, images_sha256, open_images
from features.sources.packaged import PACKAGED
from features.util.errors import InputError
from features.util.provenance import versions

REAL_WEIGHTS_SHA256 = "6546c0587157a844070178f54dfc4739cd7a9389ac191e1c1f3ffebc169ea417"


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5")


@pytest.fixture(scope="module")
def made_once(picture_folder_once: Path, random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extraction of the pictures that several tests start from; its images are those of ``picture_folder``."""
    out = tmp_path_factory.mktemp("made") / "f.h5"
    make_features(ExtractConfig(data=str(picture_folder_once), weights=str(random_weights), out=out))
    return out


@pytest.fixture
def made(made_once: Path, config: ExtractConfig) -> bytes:
    """The same cache at ``config.out``, as if made from ``config``; returns its bytes."""
    config.out.parent.mkdir()
    earlier = read_features(made_once)
    provenance = dataclasses.replace(earlier.provenance, data_location=config.data)
    write_features(config.out, provenance, earlier.splits)
    return config.out.read_bytes()


@pytest.fixture
def quick_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of ones, for tests of whether there is a pass, not of its rows."""
    ones = Runtime(record={"name": "ones"}, run=lambda pixels: np.ones((len(pixels), 512), np.float32))
    monkeypatch.setattr(local, "open_runtime", lambda *_, **__: ones)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive can't be had."""

    def refuse() -> Path:
        raise download.DownloadError("http://example/a.zip could not be downloaded (no network)")

    monkeypatch.setattr(download, "hymenoptera", refuse)


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
    assert (said.classes, said.backbone, said.data, said.note) == (
        ("blue", "red"),
        "resnet18",
        "pictures",
        "drawn by a test",
    )
    assert (said.data_location, said.weights_location) == (config.data, config.weights)
    assert said.images_sha256 == images_sha256(file_digests(open_images(config.data)))
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


def test_an_image_that_changes_during_the_run_is_named(config: ExtractConfig, monkeypatch) -> None:
    check = extract.images.check_images

    def check_then_change(*arguments: object) -> Checked:
        checked = check(*arguments)
        shutil.copy(Path(config.data) / "train/red/2.png", Path(config.data) / "train/red/1.png")
        return checked

    monkeypatch.setattr(extract.images, "check_images", check_then_change)
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
    assert re.fullmatch(r"left out 1 file\(s\) not named as images \(.*\): train/red/notes\.txt", told[0])
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
    assert made.provenance.selection == {"split": 0.25, "seed": 3}
    again = make_features(dataclasses.replace(config, data=str(whole), split=0.25, seed=4, force=True))
    assert again.rows_sha256 != made.rows_sha256


def test_few_images_of_each_class(config: ExtractConfig) -> None:
    made = make_features(dataclasses.replace(config, limit=2))
    assert made.shapes == {"train": (4, 512), "val": (4, 512)}
    assert made.provenance.selection == {"limit": 2, "seed": 0}


def test_views_stand_beside_the_plain_rows(config: ExtractConfig, made_once: Path, tmp_path: Path) -> None:
    made = make_features(dataclasses.replace(config, views=3, seed=5))
    assert made.provenance.views == {"count": 3, "seed": 5}
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
    huge = Runtime(record={"name": "huge"}, run=lambda pixels: np.full((len(pixels), 512), 7e4, np.float32))
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
    monkeypatch.setattr(store, "BLOCK_BYTES", 1 << 17)
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


# Up to date or stale -------------------------------------------------------------------------------------------------


def ends_with(text: str, ending: str) -> bool:
    return text.splitlines()[-1].endswith(ending)


def test_an_up_to_date_cache_is_kept(config: ExtractConfig, made: bytes, capsys) -> None:
    modified = config.out.stat().st_mtime_ns
    make_features(config)
    assert ends_with(capsys.readouterr().out, ": up to date, same images, weights and transform")
    assert config.out.stat().st_mtime_ns == modified


@pytest.mark.usefixtures("quick_pass")
def test_other_images_make_it_stale(config: ExtractConfig, made: bytes, capsys) -> None:
    (Path(config.data) / "val/red/0.png").unlink()
    assert make_features(config).shapes["val"] == (4, 512)
    assert f"making the features again: other images than those of {config.out}\n" in capsys.readouterr().out


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


def refusal(config: ExtractConfig) -> str:
    with pytest.raises(InputError) as caught:
        make_features(config)
    return str(caught.value)


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


# Downloads, and the packaged features where they fail ----------------------------------------------------------------


def is_packaged(made: FeatureFile) -> bool:
    packaged = verify_features(PACKAGED)
    return (made.rows_sha256, made.provenance) == (packaged.rows_sha256, packaged.provenance)


def notice(reason: str) -> str:
    return f"\nUsing the packaged features. {reason}.\nThey are ResNet18 features of the demo's 397 ants and bees"


def test_offline_uses_the_packaged_features(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out/f.h5"
    assert is_packaged(make_features(ExtractConfig(out=out, offline=True)))
    assert names_in(out.parent) == ["f.h5"]
    told = capsys.readouterr().out
    assert told.startswith(notice("--offline (make: OFFLINE=1) was given, so nothing was downloaded"))
    assert "CC BY-NC 4.0), not torchvision's own file" in told
    assert "make eval DATA=FOLDER WEIGHTS=FILE." in told
    assert ends_with(told, ": packaged features")
    make_features(ExtractConfig(out=out, offline=True))
    assert ": up to date, the packaged features (--offline" in capsys.readouterr().out


def test_without_the_archive_the_packaged_features_serve(no_network: None, tmp_path: Path, capsys) -> None:
    assert is_packaged(make_features(ExtractConfig(out=tmp_path / "f.h5")))
    told = capsys.readouterr().out
    assert told.startswith(notice("http://example/a.zip could not be downloaded (no network)"))


@pytest.fixture
def served_archive(web: Web, picture_folder_once: Path, tmp_path: Path, monkeypatch) -> Web:
    """The archive comes from this machine: the pictures, under the archive's name."""
    shutil.copytree(picture_folder_once, tmp_path / "zip/hymenoptera_data")
    packed = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "zip")
    web.files["a.zip"] = Path(packed).read_bytes()
    monkeypatch.setattr(download, "HYMENOPTERA_URL", f"{web.url}/a.zip")
    monkeypatch.setattr(download, "HYMENOPTERA_SHA256", sha256(web.files["a.zip"]))
    return web


def serve_weights(web: Web, monkeypatch, name: str) -> None:
    monkeypatch.setattr(
        backbone, "download_weights", lambda _: download.download_weights(weights_at(f"{web.url}/{name}"))
    )


def test_without_the_weights_the_packaged_features_serve(served_archive: Web, tmp_path: Path, monkeypatch, capsys):
    serve_weights(served_archive, monkeypatch, "resnet18-00000000.pth")
    assert is_packaged(make_features(ExtractConfig(out=tmp_path / "f.h5")))
    address = f"{served_archive.url}/resnet18-00000000.pth"
    # torch.hub announces the download first.
    assert (
        capsys.readouterr()
        .out.split("\n", 1)[1]
        .startswith(notice(f"{address} could not be downloaded (HTTP Error 404: Not Found)"))
    )


def test_with_archive_and_weights_the_images_are_used(
    served_archive: Web, made_once: Path, random_weights: Path, tmp_path: Path, monkeypatch
) -> None:
    content = random_weights.read_bytes()
    name = f"resnet18-{sha256(content)[:8]}.pth"
    served_archive.files[name] = content
    serve_weights(served_archive, monkeypatch, name)
    made = make_features(ExtractConfig(out=tmp_path / "f.h5"))
    said = made.provenance
    assert (said.data, said.data_location) == ("hymenoptera_data", "hymenoptera")
    assert (said.weights, said.weights_location) == ("IMAGENET1K_V1", "IMAGENET1K_V1")
    expected = read_features(made_once)
    np.testing.assert_allclose(read_features(made.path).val.features, expected.val.features, rtol=0, atol=1e-5)
    assert (said.images_sha256, said.weights_sha256) == (
        expected.provenance.images_sha256,
        expected.provenance.weights_sha256,
    )


@pytest.mark.parametrize("changes", [{"data": "own"}, {"weights": "own"}])
def test_own_files_are_never_replaced_by_the_packaged_ones(
    config: ExtractConfig, no_network: None, monkeypatch, changes: dict[str, str]
) -> None:
    def refuse(_: object) -> None:
        raise download.DownloadError("http://example/w.pth could not be downloaded (no network)")

    monkeypatch.setattr(backbone, "download_weights", refuse)
    own = {"data": config.data} if "data" in changes else {"weights": config.weights}
    failed = "w.pth" if "data" in changes else "a.zip"
    assert refusal(ExtractConfig(out=config.out, **own)) == (
        f"http://example/{failed} could not be downloaded (no network).\n"
        "Without a network, give files you have: --data FOLDER (make: DATA=) of images, --weights FILE "
        "(make: WEIGHTS=) holding a state_dict of the backbone. The packaged features need neither: leave both out."
    )
    assert not config.out.exists()


def test_offline_with_own_files_is_refused(config: ExtractConfig) -> None:
    assert refusal(dataclasses.replace(config, offline=True)) == (
        f"--offline uses the packaged features of hymenoptera by resnet18, but --data is {config.data}, --backbone is "
        f"resnet18 and --weights is {config.weights}; leave --offline (make: OFFLINE=1) out, or leave these, and what "
        "selects images or makes views or shards, out"
    )


def real_extraction(made_once: Path, out: Path) -> FeatureFile:
    """A cache as a run on the downloaded archive and weights leaves it."""
    earlier = read_features(made_once)
    said = dataclasses.replace(earlier.provenance, data="hymenoptera_data", weights="IMAGENET1K_V1")
    return write_features(out, said, earlier.splits)


def test_an_extraction_of_the_real_images_is_kept(made_once: Path, no_network: None, tmp_path: Path, capsys) -> None:
    earlier = real_extraction(made_once, tmp_path / "f.h5")
    kept = make_features(ExtractConfig(out=tmp_path / "f.h5"))
    assert kept.content_sha256 == earlier.content_sha256
    assert ": kept, made earlier on the real images (" in capsys.readouterr().out
    forced = make_features(ExtractConfig(out=tmp_path / "f.h5", offline=True))
    assert is_packaged(forced)


def test_features_of_other_images_give_way_to_the_packaged_ones(
    config: ExtractConfig, made: bytes, no_network: None
) -> None:
    assert is_packaged(make_features(ExtractConfig(out=config.out)))


# The packaged file ---------------------------------------------------------------------------------------------------


def test_the_packaged_features() -> None:
    assert PACKAGED.stat().st_size < 2**20
    read = read_features(PACKAGED)
    assert (read.train.features.shape, read.val.features.shape) == ((244, 512), (153, 512))
    assert read.provenance.classes == ("ants", "bees")
    assert np.bincount(read.train.labels).tolist() == [123, 121]
    assert np.bincount(read.val.labels).tolist() == [70, 83]
    for phrase in ("Hymenoptera set", "And the bit goes down", "CC BY-NC 4.0", "not torchvision's own file"):
        assert phrase in read.provenance.note
    assert read.provenance.weights_sha256 == REAL_WEIGHTS_SHA256


def test_the_packaged_features_name_no_path_of_the_machine_that_made_them() -> None:
    read = read_features(PACKAGED)
    said = json.dumps(dataclasses.asdict(read.provenance))
    assert re.findall(r"(?<![\w.])(?:/|~|[A-Z]:\\|\.\./)\w+", said) == []
    with h5py.File(PACKAGED) as file:
        assert file.attrs["format_version"] == 1
    assert all(re.match(r"(train|val)/(ants|bees)/[^/]+$", path) for path in read.train.paths + read.val.paths)


def test_the_packaged_features_are_those_of_the_real_images(shared_data: Path, shared_weights: Path) -> None:
    packaged = read_features(PACKAGED)
    found = open_images(str(shared_data))
    assert packaged.provenance.images_sha256 == images_sha256(file_digests(found))
    assert (packaged.train.paths, packaged.val.paths) == (found.paths["train"], found.paths["val"])
    loaded = backbone.load_backbone(backbone.DEFAULT, str(shared_weights))
    assert packaged.provenance.weights_sha256 == loaded.weights_sha256
    assert packaged.provenance.transform == loaded.transform

    paths = packaged.val.paths[:12]
    runtime = open_runtime(loaded, runtime="torch")
    pixels = [loaded.preprocess.pixels(decode(found.read(path))) for path in paths]
    np.testing.assert_allclose(runtime(np.stack(pixels)), packaged.val.features[:12], rtol=0, atol=1e-4)
