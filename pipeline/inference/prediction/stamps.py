"""Whether the pictures of finished rows are still those that were classified.

In: pictures as they are taken; size and time of each go into ``.NAME.stamps`` beside the file of predictions before it
is read. Out: for a command that goes on, whether each is as it was. Contents are not compared: that would read again
what is done.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

_STAMP = struct.Struct("<qq")


class Stamps:
    """The sizes and times of the pictures of a file of predictions.

    Args:
        beside: The file of predictions.
    """

    def __init__(self, beside: Path) -> None:
        self._file = beside.with_name(f".{beside.name}.stamps")

    def unchanged(self, images: Iterable[Path]) -> Iterator[tuple[Path, bool | None]]:
        """Yield each picture and whether it is as it was when it was taken; None where it was not, or that is lost."""
        self._file.touch()
        with self._file.open("rb") as file:
            for image in images:
                there = file.read(_STAMP.size)
                yield image, there == _stamp(image) if len(there) == _STAMP.size else None

    def taking(self, images: Iterable[Path], kept: int) -> Iterator[Path]:
        """Yield the pictures behind ``kept`` finished ones, each with its stamp in the file before."""
        with self._file.open("r+b" if kept else "wb", buffering=0) as file:
            file.truncate(kept * _STAMP.size)
            file.seek(kept * _STAMP.size)
            for image in images:
                file.write(_stamp(image))
                yield image

    def finish(self) -> None:
        """Delete what only a stopped command needs."""
        self._file.unlink(missing_ok=True)


def _stamp(image: Path) -> bytes:
    try:
        there = image.stat()
    except OSError:  # gone: its row says so
        return _STAMP.pack(-1, -1)
    return _STAMP.pack(there.st_size, there.st_mtime_ns)
