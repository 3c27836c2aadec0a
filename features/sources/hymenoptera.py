"""The demo's ants and bees by name: ``hymenoptera``, an archive that is downloaded and verified on first use."""

from __future__ import annotations

from pathlib import Path

from features.sources.catalogue import Catalogue, Kind
from features.sources.download import DownloadError, datasets_folder, download_archive
from features.sources.folder import read_folder

NAME = "hymenoptera"
# The archive of torchvision's transfer learning tutorial; the hash is the one its own build checks.
URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
SHA256 = "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209"


def archive_folder() -> Path:
    """The folder of the unpacked archive, whether it is there or not."""
    return datasets_folder() / "hymenoptera_data"


def read_hymenoptera(split: float | None, *, download: bool) -> Catalogue:
    """List the images of the archive.

    Args:
        split: Refused with an InputError: the archive is split already.
        download: Whether it may be downloaded if it is not here yet.

    Raises:
        DownloadError: if the archive can't be had or is not the expected one.
    """
    folder = archive_folder()
    if not folder.is_dir():
        if not download:
            raise DownloadError("the data set hymenoptera is not here, and may not be downloaded")
        download_archive(URL, SHA256, folder)
    return read_folder(folder, split)


HYMENOPTERA = Kind(
    takes="`hymenoptera`",
    claims=lambda data: data == NAME,
    read=lambda _, split, may_download: read_hymenoptera(split, download=may_download),
    named=True,
    names=(NAME,),
)
