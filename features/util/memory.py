"""The memory of this machine."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def physical_memory() -> float:
    """Physical memory of this machine in bytes; infinite where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def free_memory() -> float:
    """Bytes that this process may still take: what Linux has available, at most what its container is allowed. Half
    of the physical memory on other systems."""
    try:
        available = 1024.0 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return physical_memory() / 2
    with suppress(OSError, IndexError, ValueError):  # no container, or one without a limit
        allowed = int((_CGROUP / "memory.max").read_text())
        held = int((_CGROUP / "memory.stat").read_text().split("anon ")[1].split()[0])
        available = min(available, allowed - held)
    return available


def gigabytes(size: float) -> str:
    """A number of bytes in words: 1.5 GB, or 12 MB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
