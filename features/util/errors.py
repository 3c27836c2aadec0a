"""How a command ends: a user's mistake becomes one clear message and exit code 2, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

MAX_LISTED = 20


class InputError(Exception):
    """A mistake that the user can mend. The message says what was wrong, its value, what is allowed, what to do."""


def run_command(command: Callable[[], None]) -> int:
    """Run a command and return its exit code: 0 done, 2 user's mistake, 130 Ctrl-C, 141 output closed."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture of one to two times its limit; we refuse it, which says more.
            warnings.filterwarnings("ignore", message=".* decompression bomb DOS attack")
            warnings.showwarning = _warn_once()
            command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output, `head` perhaps, has closed it: Python must not flush to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError as error:
        reason = f" ({first_line(error)})" if error.args else ""
        print(
            f"error: this takes more memory than there is{reason}; take fewer qubits or smaller batches",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.errno not in _STORAGE_PROBLEMS:
            raise
        print(f"error: {_STORAGE_PROBLEMS[error.errno]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if stop.args else "\nstopped by Ctrl-C; no half-written file is left", file=sys.stderr)
        return 130
    return 0


def _warn_once() -> Callable[..., None]:
    """What prints a warning to the user: once, and without Python's line of code."""
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    return show


_STORAGE_PROBLEMS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the target is on a read-only file system; name another with --out (make: OUT=)",
    errno.EACCES: "no permission; change the permissions, or name another place (for the target: --out; make: OUT=)",
    errno.EPERM: "not permitted; change the permissions, or name another place (for the target: --out; make: OUT=)",
    errno.ENOENT: "a file or folder is missing",
    errno.EFBIG: "the file is larger than the system's limit for one file; raise the limit (ulimit -f)",
    errno.EIO: "the disk reports an error; check it, or name another place",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
}


def need(module: str, sentence: str, otherwise: str = "") -> Any:
    """Import an optional library.

    Args:
        module: What to import, ``pyarrow.parquet``; pip installs what stands before the first dot.
        sentence: The beginning of the message: ``reading x.parquet needs``.
        otherwise: What else helps, for its end.

    Raises:
        InputError: if the library is not installed.
    """
    package = module.split(".")[0]
    try:
        __import__(module)
    except ImportError as error:
        raise InputError(
            f"{sentence} {package}, which is not installed; install it: pip install {package}{otherwise}"
        ) from error
    return sys.modules[module]


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, or the error's type where it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listing(lines: Iterable[str]) -> str:
    """Indent lines for an error message. Of more than ``MAX_LISTED``, the rest is counted."""
    lines = list(lines)
    shown = [f"  {line}" for line in lines[:MAX_LISTED]]
    if len(lines) > MAX_LISTED:
        shown.append(f"  … and {len(lines) - MAX_LISTED} more")
    return "\n".join(shown)


def shortened(names: Sequence[str]) -> str:
    """Names in a sentence. Of more than ``MAX_LISTED``, the rest is counted."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`` (did you mean NEAREST?)`` for the end of a message, or nothing where no name is near."""
    near = get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
