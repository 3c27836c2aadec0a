"""features.cache.packaged: what stands in where nothing can be downloaded, and says so."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import names_in
from extraction import ends_with, refusal
from web import Web
from weights import sha256, weights_at

from features.backbone import network as backbone
from features.backbone import torchvision_models
from features.backbone.runtime import open_runtime
from features.cache.featureset import FeatureFile
from features.cache.packaged import PACKAGED
from features.cache.store import read_features, verify_features
from features.cache.target import same_images
from features.cache.writer import write_features
from features.config import ExtractConfig
from features.extract import make_features
from features.sources import download, hymenoptera
from features.sources.check import file_digests, images_sha256_before_format_3
from features.sources.decode import decode
from features.sources.images import open_images

REAL_WEIGHTS_SHA256 = "6546c0587157a844070178f54dfc4739cd7a9389ac191e1c1f3ffebc169ea417"


@pytest.fixture
def config(picture_folder: Path, random_weights: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(data=str(picture_folder), weights=str(random_weights), out=tmp_path / "out/f.h5")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive can't be had."""

    def refuse(*_: object) -> Path:
        raise download.DownloadError("http://example/a.zip could not be downloaded (no network)")

    monkeypatch.setattr(hymenoptera, "download_archive", refuse)


# Downloads, and the packaged features where they fail ----------------------------------------------------------------


def is_packaged(made: FeatureFile) -> bool:
    packaged = verify_features(PACKAGED)
    return (made.content_sha256, made.provenance) == (packaged.content_sha256, packaged.provenance)


def notice(reason: str) -> str:
    return f"\nUsing the packaged features. {reason}.\nThey are ResNet18 features of the demo's 397 ants and bees"


def test_offline_uses_the_packaged_features(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out/f.h5"
    assert is_packaged(make_features(ExtractConfig(out=out, offline=True)))
    assert names_in(out.parent) == ["f.h5"]
    told = capsys.readouterr().out
    assert told.startswith(notice("--offline (make: OFFLINE=1) was given, so nothing was downloaded"))
    assert "CC BY-NC 4.0), not torchvision's own file" in told
    assert "make eval OUT=out/mine DATA=FOLDER WEIGHTS=FILE." in told
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
    monkeypatch.setattr(hymenoptera, "URL", f"{web.url}/a.zip")
    monkeypatch.setattr(hymenoptera, "SHA256", sha256(web.files["a.zip"]))
    return web


def serve_weights(web: Web, monkeypatch, name: str) -> None:
    monkeypatch.setattr(
        torchvision_models, "download_weights", lambda _: download.download_weights(weights_at(f"{web.url}/{name}"))
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

    monkeypatch.setattr(torchvision_models, "download_weights", refuse)
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
        "selects images or a layer, or makes views or shards, out"
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
    said = json.dumps(read.provenance.record())
    assert re.findall(r"(?<![\w.])(?:/|~|[A-Z]:\\|\.\./)\w+", said) == []
    with h5py.File(PACKAGED) as file:
        assert file.attrs["format_version"] == 1
    assert all(re.match(r"(train|val)/(ants|bees)/[^/]+$", path) for path in read.train.paths + read.val.paths)


def test_the_packaged_features_are_those_of_the_real_images(shared_data: Path, shared_weights: Path) -> None:
    packaged = read_features(PACKAGED)
    found = open_images(str(shared_data))
    assert packaged.provenance.images_sha256 == images_sha256_before_format_3(found, file_digests(found))
    assert same_images(packaged, found, file_digests(found))
    assert (packaged.train.paths, packaged.val.paths) == (found.paths["train"], found.paths["val"])
    loaded = backbone.load_backbone(backbone.DEFAULT, str(shared_weights))
    assert packaged.provenance.weights_sha256 == loaded.weights_sha256
    assert packaged.provenance.transform == loaded.transform

    paths = packaged.val.paths[:12]
    runtime = open_runtime(loaded, runtime="torch")
    pixels = [loaded.preprocess.pixels(decode(found.read(path))) for path in paths]
    np.testing.assert_allclose(runtime(np.stack(pixels)), packaged.val.features[:12], rtol=0, atol=1e-4)
