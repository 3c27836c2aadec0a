"""The unfinished file beside its final name: locked against other processes, and safe to hand to HDF5."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from features.util.errors import InputError


class PartFile(io.FileIO):
    """The unfinished file beside ``final``; what HDF5 writes goes through here.

    HDF5 crashes the whole process where a write fails as it closes a file (a full disk is enough). So it never learns
    of a failure: the first one is kept, the rest of the writes are dropped, and :meth:`raise_failure` reports it.

    Raises:
        InputError: if another process is writing this very file.
    """

    def __init__(self, final: Path) -> None:
        self.path = unfinished(final)
        self.failure: BaseException | None = None
        self._lock = ExitStack()
        self._lock.enter_context(locked(self.path, final))
        try:
            super().__init__(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666), "r+b")
        except BaseException:
            self._lock.close()
            raise

    def write(self, data: Any) -> int:
        """All of the bytes, or none after the first failure; always claims success."""
        try:
            rest = memoryview(data).cast("B")
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # also a Ctrl-C that arrives inside HDF5
            self.failure = error
        return len(data)

    def raise_failure(self) -> None:
        """Report the first write that failed, if any."""
        if isinstance(self.failure, OSError):
            raise OSError(self.failure.errno, self.failure.strerror, str(self.path)) from self.failure
        if self.failure is not None:
            raise self.failure

    def discard(self) -> None:
        """Remove the file, if it has not got its final name, and release the lock."""
        if not self.closed:
            self.path.unlink(missing_ok=True)
            self.close()
            self._lock.close()


def unfinished(final: Path) -> Path:
    """Where a file lies until it is finished."""
    return final.with_name(f".{final.name}.part")


def lock_file(path: Path) -> Path:
    """The file that is locked while ``path`` is in use."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def locked(path: Path, final: Path) -> Iterator[None]:
    """Keep other processes away from ``path`` while the ``with`` block runs; the lock is a file beside it.

    Args:
        path: The unfinished file, or the folder of pieces.
        final: What it is to become, for the message.

    Raises:
        InputError: if another process has the lock.
    """
    lock = FileLock(lock_file(path))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"another process is writing {final} just now; wait for it, or name another file") from None
    try:
        yield
    finally:
        # The last act under the lock. A process that opened the file before this notices that it has no name any more.
        with suppress(OSError):
            lock_file(path).unlink()
        lock.release()
