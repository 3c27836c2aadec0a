"""Memory that Python objects and arrays take at most while something runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def peak(work: Callable[[], object]) -> int:
    """Bytes at the most while ``work`` runs, the least of three times: what a thread of an earlier test allocates
    beside it is counted too, but not each time."""
    return min(_peak(work) for _ in range(3))


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
