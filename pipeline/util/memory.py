"""The memory of this machine."""

from __future__ import annotations

import math
import os


def physical_memory() -> float:
    """Physical memory of this machine in bytes; infinite where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
