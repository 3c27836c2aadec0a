"""What comes from the network: the demo's image archive and torchvision's weights, each verified by its SHA-256, and
torchvision's data sets, which it verifies by checksums of its own.

Nothing is kept that does not verify. Downloads stay in torch's own cache (``TORCH_HOME``, by default
``~/.cache/torch``), so that every checkout and every run shares them.
"""

from __future__ import annotations

import re
import shutil
import socket
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.util.errors import InputError
from features.util.provenance import file_sha256

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# The archive of torchvision's transfer learning tutorial; the hash is the one its own build checks.
HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
HYMENOPTERA_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"

# Seconds without a byte after which a connection counts as dead; torch.hub itself would wait for ever.
TIMEOUT = 20.0


class DownloadError(InputError):
    """A download that failed or did not verify; nothing of it was kept."""


def datasets_folder() -> Path:
    """Where downloaded data sets lie: one folder each, whole or not there."""
    import torch

    return Path(torch.hub.get_dir()).parent / "datasets"


def hymenoptera() -> Path:
    """The folder of the demo's ants and bees; downloaded, verified and unpacked on first use.

    Raises:
        DownloadError: if the archive can't be had or is not the expected one.
    """
    folder = datasets_folder() / "hymenoptera_data"
    if not folder.is_dir():
        download_archive(HYMENOPTERA_URL, HYMENOPTERA_SHA256, folder)
    return folder


def download_archive(url: str, sha256: str, folder: Path) -> None:
    """Download a zip whose one top folder is named like ``folder``, verify it and unpack it to ``folder``, all or
    nothing.

    Raises:
        DownloadError: if the connection fails, the contents do not match ``sha256``, or the zip is not as described.
    """
    import torch

    with _download_errors(url):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            archive = Path(scratch) / "archive.zip"
            torch.hub.download_url_to_file(url, str(archive), hash_prefix=sha256)
            try:
                with zipfile.ZipFile(archive) as contents:
                    contents.extractall(scratch)
            except zipfile.BadZipFile as error:
                raise DownloadError(f"{url} is not a zip archive ({error})") from error
            unpacked = Path(scratch) / folder.name
            if not unpacked.is_dir():
                raise DownloadError(f"{url} has no folder {folder.name}/ at its top")
            shutil.move(unpacked, folder)


def download_dataset(name: str, folder: Path, fetch: Callable[[Path], object]) -> None:
    """Let ``fetch`` download a data set into an empty folder, which then becomes ``folder``, all or nothing: an
    unpacking that was cut short leaves files that torchvision itself would trust.

    Raises:
        DownloadError: if the connection fails or the contents do not match torchvision's checksum.
    """
    with _download_errors(f"the data set {name}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            fetched = Path(scratch) / folder.name
            fetched.mkdir()
            try:
                fetch(fetched)
            except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
                raise DownloadError(f"the download of {name} can't be unpacked ({error})") from error
            if not folder.is_dir():  # by now another process may have been faster
                fetched.rename(folder)


def download_weights(weights: WeightsEnum) -> Mapping[str, Any]:
    """The ``state_dict`` of a named set of torchvision weights; its file name carries its hash, which is checked.

    Raises:
        DownloadError: if the connection fails or the contents do not match the hash.
    """
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    with _download_errors(weights.url):
        # torch.hub checks what it downloads, but not what it finds.
        if file.is_file() and not file_sha256(file).startswith(_hash_in(file.name)):
            print(f"{file} does not match its checksum; downloading it again")
            file.unlink()
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)


def _hash_in(name: str) -> str:
    found = re.search(r"-([0-9a-f]+)\.", name)
    assert found, f"the name {name} carries no hash"
    return found[1]


@contextmanager
def _download_errors(url: str) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    # URLError, a time-out and a folder that can't be written are OSErrors; torch.hub reports a wrong hash, also that of
    # a cut connection, as a RuntimeError.
    except (OSError, HTTPException, RuntimeError) as error:
        raise DownloadError(f"{url} could not be downloaded ({error})") from error
    finally:
        socket.setdefaulttimeout(before)
