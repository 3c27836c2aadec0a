"""features.sources.download: against a web server on this machine that also fails in every way a network does."""

from __future__ import annotations

import io
import re
import shutil
import socket
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import Web, names_in
from torchvision.datasets.utils import download_url
from torchvision.models import WeightsEnum
from weights import offer, sha256, weights_at

from features.sources import download, hymenoptera
from features.sources.catalogue import Files
from features.sources.download import DownloadError, download_archive, download_weights
from features.sources.images import open_images

FOLDER = "hymenoptera_data"


def archive(top: str = FOLDER) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(f"{top}/train/ants/0.jpg", b"an ant")
        file.writestr(f"{top}/val/bees/1.jpg", b"a bee" * 1000)
    return packed.getvalue()


def refused_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


STATE = {"weight": torch.arange(2000.0)}


@pytest.fixture
def weight_file() -> bytes:
    packed = io.BytesIO()
    torch.save(STATE, packed)
    return packed.getvalue()


# The archive ---------------------------------------------------------------------------------------------------------


def test_the_archive_is_verified_and_unpacked(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = archive()
    download_archive(f"{web.url}/a.zip", sha256(archive()), tmp_path / "deep" / FOLDER)
    assert (tmp_path / "deep" / FOLDER / "train/ants/0.jpg").read_bytes() == b"an ant"
    assert (tmp_path / "deep" / FOLDER / "val/bees/1.jpg").read_bytes() == b"a bee" * 1000
    assert names_in(tmp_path / "deep") == [FOLDER]


def test_hymenoptera_is_downloaded_once(
    web: Web, picture_folder: Path, torch_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zip").mkdir()
    picture_folder.rename(tmp_path / "zip" / FOLDER)
    web.files["a.zip"] = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "zip")).read_bytes()
    monkeypatch.setattr(hymenoptera, "URL", f"{web.url}/a.zip")
    monkeypatch.setattr(hymenoptera, "SHA256", sha256(web.files["a.zip"]))
    with pytest.raises(DownloadError, match="hymenoptera is not here, and may not be downloaded"):
        open_images("hymenoptera", download=False)
    first, again = open_images("hymenoptera"), open_images("hymenoptera", download=False)
    assert first == again
    assert first.source == Files(torch_home / "datasets" / FOLDER)
    assert web.asked == ["a.zip"]


def archive_fails(address: str, digest: str, folder: Path) -> str:
    """The message of a failed download; shows that nothing was kept."""
    with pytest.raises(DownloadError) as caught:
        download_archive(address, digest, folder / FOLDER)
    assert names_in(folder) == []
    return str(caught.value)


def test_an_archive_with_another_checksum(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = archive()
    message = archive_fails(f"{web.url}/a.zip", "0" * 64, tmp_path)
    assert message == (
        f'{web.url}/a.zip could not be downloaded (invalid hash value (expected "{"0" * 64}", '
        f'got "{sha256(archive())}"))'
    )


def test_an_archive_whose_connection_is_cut(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = archive()[:100]
    web.lengths["a.zip"] = len(archive())
    message = archive_fails(f"{web.url}/a.zip", sha256(archive()), tmp_path)
    assert re.match(rf"{web.url}/a\.zip could not be downloaded \((invalid hash value|IncompleteRead)", message)


def test_an_archive_behind_a_refused_port(tmp_path: Path) -> None:
    address = f"{refused_port()}/a.zip"
    message = archive_fails(address, sha256(archive()), tmp_path)
    assert re.fullmatch(
        rf"{address} could not be downloaded \(<urlopen error \[Errno \d+\] Connection refused>\)", message
    )


def test_an_archive_that_is_gone(web: Web, tmp_path: Path) -> None:
    message = archive_fails(f"{web.url}/a.zip", sha256(archive()), tmp_path)
    assert message == f"{web.url}/a.zip could not be downloaded (HTTP Error 404: Not Found)"


def test_an_archive_that_never_comes(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    web.hanging.add("a.zip")
    before = time.monotonic()
    message = archive_fails(f"{web.url}/a.zip", sha256(archive()), tmp_path)
    assert time.monotonic() - before < 10
    assert re.fullmatch(rf"{web.url}/a\.zip could not be downloaded \(.*timed out.*\)", message)


def test_a_download_leaves_the_time_limit_of_the_process_alone(
    web: Web, tmp_path: Path, torch_home: Path, weight_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked while each kind of download is under way, by the server's own thread."""
    limits = []
    web.on_request = lambda: limits.append(socket.getdefaulttimeout())
    web.files["a.zip"] = archive()
    download_archive(f"{web.url}/a.zip", sha256(archive()), tmp_path / FOLDER)
    download_weights(offer(web, weight_file))
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    web.hanging.add("set.zip")
    address = f"{web.url}/set.zip"
    with pytest.raises(DownloadError, match=r"the data set mine could not be downloaded .*timed out"):
        download.download_dataset("mine", tmp_path / "mine", lambda root: download_url(address, str(root)))
    assert limits == [None] * 3


def test_an_archive_that_is_no_zip(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = b"<html>Please log in</html>"
    message = archive_fails(f"{web.url}/a.zip", sha256(web.files["a.zip"]), tmp_path)
    assert message == f"{web.url}/a.zip is not a zip archive (File is not a zip file)"


def test_an_archive_without_the_folder(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = archive(top="something_else")
    message = archive_fails(f"{web.url}/a.zip", sha256(web.files["a.zip"]), tmp_path)
    assert message == f"{web.url}/a.zip has no folder {FOLDER}/ at its top"


def test_a_cache_that_can_not_be_written_is_a_failed_download(web: Web, tmp_path: Path) -> None:
    web.files["a.zip"] = archive()
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"a\.zip could not be downloaded \(.*file'?\)"):
        download_archive(f"{web.url}/a.zip", sha256(archive()), tmp_path / "file" / FOLDER)


# The weights ---------------------------------------------------------------------------------------------------------


def kept_weights(torch_home: Path) -> list[str]:
    return names_in(torch_home / "hub/checkpoints")


def test_weights_are_verified_and_downloaded_once(web: Web, torch_home: Path, weight_file: bytes) -> None:
    weights = offer(web, weight_file)
    for _ in range(2):
        assert torch.equal(download_weights(weights)["weight"], STATE["weight"])
    assert len(web.asked) == 1
    assert kept_weights(torch_home) == web.asked


def test_weights_damaged_in_the_cache_are_downloaded_again(
    web: Web, torch_home: Path, weight_file: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = offer(web, weight_file)
    download_weights(weights)
    (kept,) = (torch_home / "hub/checkpoints").iterdir()
    # One flipped bit in a weight: torch itself would load it.
    kept.write_bytes(weight_file.replace(STATE["weight"].numpy().tobytes(), (STATE["weight"] + 1).numpy().tobytes()))
    assert torch.equal(download_weights(weights)["weight"], STATE["weight"])
    assert len(web.asked) == 2
    assert f"{kept} does not match its checksum; downloading it again\n" in capsys.readouterr().out


def weights_fail(weights: WeightsEnum, torch_home: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        download_weights(weights)
    assert kept_weights(torch_home) == []
    return str(caught.value)


def test_weights_with_another_checksum(web: Web, torch_home: Path, weight_file: bytes) -> None:
    weights = offer(web, weight_file, name="net-00000000.pth")
    message = weights_fail(weights, torch_home)
    assert message == (
        f'{weights.url} could not be downloaded (invalid hash value (expected "00000000", got "{sha256(weight_file)}"))'
    )


def test_weights_whose_connection_is_cut(web: Web, torch_home: Path, weight_file: bytes) -> None:
    weights = offer(web, weight_file)
    (name,) = web.files
    web.files[name] = weight_file[:1000]
    web.lengths[name] = len(weight_file)
    assert "could not be downloaded (invalid hash value" in weights_fail(weights, torch_home)


def test_weights_behind_a_refused_port(torch_home: Path) -> None:
    message = weights_fail(weights_at(f"{refused_port()}/net-00000000.pth"), torch_home)
    assert "could not be downloaded (<urlopen error" in message
    assert "Connection refused" in message


def test_weights_that_never_come(web: Web, torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    web.hanging.add("net-00000000.pth")
    assert "timed out" in weights_fail(weights_at(f"{web.url}/net-00000000.pth"), torch_home)


def test_torchvisions_own_weights_and_the_archive_name_their_hashes() -> None:
    from torchvision.models import ResNet18_Weights

    assert download._hash_in(Path(ResNet18_Weights.IMAGENET1K_V1.url).name) == "f37072fd"
    assert len(hymenoptera.SHA256) == 64
