"""Pictures that can't be read, one of each kind."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def spoil(folder: Path) -> dict[str, str]:
    """Put one file of each unreadable kind into a class; the reason expected for each, as a pattern."""
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    for ending in ("jpg", "png", "webp", "tif"):
        whole.save(folder / f"cut.{ending}")
        data = (folder / f"cut.{ending}").read_bytes()
        (folder / f"cut.{ending}").write_bytes(data[: len(data) // 2])
        (folder / f"docked.{ending}").write_bytes(data[:-40])
    (folder / "text.png").write_text("this is no image")
    (folder / "empty.jpg").touch()
    (folder / "bomb.png").write_bytes(png_header_only(100_000, 100_000))
    (folder / "small_bomb.png").write_bytes(png_header_only(12_000, 10_000))
    (folder / "link.jpg").symlink_to(folder / "gone.jpg")
    return {
        "docked.jpg": r"image file is truncated.*",
        "docked.png": r"image file is truncated.*",
        "docked.webp": r".+",
        "docked.tif": r".+",
        "cut.jpg": r"image file is truncated.*",
        "cut.png": r"image file is truncated.*",
        "cut.webp": r".+",
        "cut.tif": r".+",
        "text.png": "not an image that Pillow can read",
        "empty.jpg": r"the file is empty \(0 bytes\)",
        "bomb.png": r".*decompression bomb.*",
        "small_bomb.png": r"12000×10000 pixels, more than 89,478,485: could be a decompression bomb",
        "link.jpg": r".*No such file or directory.*",
    }
