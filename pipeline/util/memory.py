"""The memory of this machine."""

from __future__ import annotations

import math
import os


def physical_memory() -> float:
    """Bytes of memory that this machine has; infinitely many where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
