"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a name beside ``path``, put it on the disk, then give it its own name; on failure remove it.

    Args:
        path: The file to make or to replace.
        write: Gets the path to write to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by :func:`write_atomically`."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk: without it a power loss may take back a name that was given."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
