"""Real kills: a function runs in a forked process that is killed before its N-th change of a folder."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def survives(work: Callable[[], object], folder: Path, kill_at: int) -> bool:
    """Run ``work`` in a process that is killed (SIGKILL) before its ``kill_at``-th change below ``folder``.

    Returns:
        Whether it came to its end, because it makes fewer changes.
    """
    child = os.fork()
    if child == 0:
        _kill_before(folder, kill_at)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def _kill_before(folder: Path, kill_at: int) -> None:
    """Every creation, renaming and removal is one of Python's audit events."""
    left = kill_at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (event in CHANGES or writes) or not str(arguments[0]).startswith(str(folder)):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
