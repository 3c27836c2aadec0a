"""The unfinished file beside its final name: locked against other processes, and safe to hand to HDF5."""

from __future__ import annotations

import fcntl
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from features.util.errors import InputError


class PartFile(io.FileIO):
    """The unfinished file beside ``final``; what HDF5 writes goes through here.

    HDF5 crashes the whole process where a write fails as it closes a file (a full disk is enough), so it is never told:
    the first failure is kept, the rest of the writes are dropped, and :meth:`raise_failure` reports it.

    Raises:
        InputError: if another process is writing this very file.
    """

    def __init__(self, final: Path) -> None:
        self.path = final.with_name(f".{final.name}.part")
        self.failure: BaseException | None = None
        # Not truncated before it is locked: it may be another process's, at work.
        super().__init__(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if not lock(self.fileno(), self.path):
            self.close()
            raise being_written(final)
        super().truncate(0)

    def write(self, data: Any) -> int:
        """All of the bytes, or none after the first failure; always claims success."""
        try:
            rest = memoryview(data).cast("B")
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # a Ctrl-C that arrives here, inside of HDF5, too
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
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self.fileno()), self.path.stat()):
                    self.path.unlink()
            self.close()


def lock(descriptor: int, path: Path) -> bool:
    """Lock an open file or folder until it is closed; False if another process has it, or has replaced or removed it
    between opening and locking."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def being_written(final: Path) -> InputError:
    """What to say of a file that another process is writing."""
    return InputError(f"another process is writing {final} just now; wait for it, or name another file")
