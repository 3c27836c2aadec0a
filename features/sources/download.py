"""Downloads: archives and torchvision's weights, verified by their SHA-256, and torchvision's data sets, which it
verifies by checksums of its own.

Nothing is kept that does not verify. Downloads stay in torch's own cache (``TORCH_HOME``, by default
``~/.cache/torch``), so that every checkout and every run shares them.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from features.util.errors import InputError
from features.util.files import write_atomically
from features.util.provenance import file_sha256

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# Seconds without a byte after which a connection counts as dead; by itself Python would wait for ever.
TIMEOUT = 20.0
CHUNK_BYTES = 1 << 17


class DownloadError(InputError):
    """A download that failed or did not verify; nothing of it was kept."""


def datasets_folder() -> Path:
    """Where downloaded data sets lie: one folder each, whole or not there."""
    import torch

    return Path(torch.hub.get_dir()).parent / "datasets"


def download_archive(url: str, sha256: str, folder: Path) -> None:
    """Download a zip whose one top folder is named like ``folder``, verify it and unpack it to ``folder``, all or
    nothing.

    Raises:
        DownloadError: if the connection fails, the contents do not match ``sha256``, or the zip is not as described.
    """
    with _download_errors(url):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            archive = Path(scratch) / "archive.zip"
            _fetch(url, archive, sha256)
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
    with _download_errors(f"the data set {name}"), _torchvision_gives_up():
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
        # torchvision checks what it downloads, but not what it finds.
        if file.is_file() and not file_sha256(file).startswith(_hash_in(file.name)):
            print(f"{file} does not match its checksum; downloading it again")
            file.unlink()
        if not file.is_file():
            print(f"downloading {weights.url} to {file}")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, lambda part: _fetch(weights.url, part, _hash_in(file.name)))
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)


def _hash_in(name: str) -> str:
    found = re.search(r"-([0-9a-f]+)\.", name)
    assert found, f"the name {name} carries no hash"
    return found[1]


def _fetch(url: str, file: Path, sha256: str) -> None:
    """Download a file whose SHA-256 begins with ``sha256``; raises RuntimeError where it does not."""
    from tqdm import tqdm

    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, file.open("wb") as out:
        size = int(response.headers.get("Content-Length", 0)) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=file.name, disable=None) as bar:
            while chunk := response.read(CHUNK_BYTES):
                out.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    if not digest.hexdigest().startswith(sha256):
        raise RuntimeError(f'invalid hash value (expected "{sha256}", got "{digest.hexdigest()}")')


@contextmanager
def _torchvision_gives_up() -> Iterator[None]:
    """Give the connections that torchvision's data sets open a time limit. It takes none as an argument, and Python's
    default belongs to the whole process, so its one module that connects sees a ``urlopen`` with the limit."""
    from torchvision.datasets import utils

    own, request = (ModuleType(module.__name__) for module in (urllib, urllib.request))
    request.__dict__.update(vars(urllib.request), urlopen=partial(urllib.request.urlopen, timeout=TIMEOUT))
    own.__dict__.update(vars(urllib), request=request)
    with patch.object(utils, "urllib", own, create=True):
        yield


@contextmanager
def _download_errors(url: str) -> Iterator[None]:
    try:
        yield
    # URLError, a time-out and a folder that can't be written are OSErrors; torchvision reports a wrong hash, also that
    # of a cut connection, as a RuntimeError.
    except (OSError, HTTPException, RuntimeError) as error:
        raise DownloadError(f"{url} could not be downloaded ({error})") from error
