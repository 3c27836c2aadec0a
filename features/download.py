"""What comes from the network: the demo's image archive and torchvision's weights, each verified by its SHA-256.

Nothing is kept that does not verify. Downloads stay in torch's own cache (``TORCH_HOME``, by default
``~/.cache/torch``), so that every checkout and every run shares them.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import InputError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# The archive of torchvision's transfer learning tutorial; the hash is the one its own build checks.
HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
HYMENOPTERA_SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"

# Seconds without a byte after which a connection counts as dead; torch.hub itself would wait for ever.
TIMEOUT = 20.0


class DownloadError(InputError):
    """A download that failed or did not verify; nothing of it was kept."""


def hymenoptera() -> Path:
    """The folder of the demo's ants and bees; downloaded, verified and unpacked on first use.

    Raises:
        DownloadError: if the archive can't be had or is not the expected one.
    """
    import torch

    folder = Path(torch.hub.get_dir()).parent / "datasets" / "hymenoptera_data"
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

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        archive = Path(scratch) / "archive.zip"
        with _download_errors(url):
            torch.hub.download_url_to_file(url, str(archive), hash_prefix=sha256)
        try:
            zipfile.ZipFile(archive).extractall(scratch)
        except zipfile.BadZipFile as error:
            raise DownloadError(f"{url} is not a zip archive ({error})") from error
        unpacked = Path(scratch) / folder.name
        if not unpacked.is_dir():
            raise DownloadError(f"{url} has no folder {folder.name}/ at its top")
        shutil.move(unpacked, folder)


def download_weights(weights: WeightsEnum) -> dict[str, Any]:
    """The ``state_dict`` of a named set of torchvision weights; its file name carries its hash, which is checked.

    Raises:
        DownloadError: if the connection fails or the contents do not match the hash.
    """
    with _download_errors(weights.url):
        return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))


@contextmanager
def _download_errors(url: str) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    # URLError, a cut connection and a time-out are OSErrors; torch.hub reports a wrong hash as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise DownloadError(f"{url} could not be downloaded ({error})") from error
    finally:
        socket.setdefaulttimeout(before)
