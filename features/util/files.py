"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a temporary file beside ``path``, sync it to disk, then rename it to ``path``; delete it on failure.

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


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by :func:`write_atomically`."""
    write_atomically(path, lambda part: part.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file by :func:`write_atomically`."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, because a power loss may otherwise undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
