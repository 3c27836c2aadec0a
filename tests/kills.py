"""Real kills: a function runs in a forked process that is killed before its N-th change of a folder; a training is
stopped by Ctrl-C at its N-th step; the processes of a cluster, to be killed."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.training import epochs

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


@contextmanager
def ctrl_c_at_step(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Stop a training of this process by Ctrl-C before its ``step``-th step, from 0."""
    whole_step, steps = epochs.train_step, itertools.count()

    def interrupted_step(*arguments: object) -> object:
        if next(steps) == step:
            raise KeyboardInterrupt
        return whole_step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(epochs, "train_step", interrupted_step)
        yield


def ray_processes(title: str, mark: str) -> list[int]:
    """Process numbers of a cluster's processes with this in their title, known by a mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            there, environment = ((entry / name).read_bytes() for name in ("cmdline", "environ"))
            if there.startswith(b"ray::") and title.encode() in there and mark.encode() in environment:
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


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
