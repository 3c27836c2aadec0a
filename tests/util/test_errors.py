"""features.util.errors: how a command ends."""

from __future__ import annotations

import errno
import os
import warnings

import pytest

from features.util.errors import InputError, listing, run_command


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


def test_a_command_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_users_mistake_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(InputError("no such thing; name another"))) == 2
    assert capsys.readouterr() == ("", "error: no such thing; name another\n")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up; free some space and run the same command again"),
        (errno.EROFS, "the target is on a read-only file system; name another with --out (make: OUT=)"),
        (
            errno.EACCES,
            "no permission; change the permissions, or name another place (for the target: --out; make: OUT=)",
        ),
        (errno.EFBIG, "the file is larger than the system's limit for one file; raise the limit (ulimit -f)"),
        (errno.EIO, "the disk reports an error; check it, or name another place"),
        (errno.ENAMETOOLONG, "the name is too long for this file system; choose a shorter one"),
        (errno.ENOENT, "a file or folder is missing"),
    ],
)
def test_trouble_with_the_disk_is_named(code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(OSError(code, os.strerror(code), "out/f.h5"))) == 2
    expected = f"error: {message}: [Errno {code}] {os.strerror(code)}: 'out/f.h5'\n"
    assert capsys.readouterr() == ("", expected)


def test_a_lack_of_memory_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(MemoryError("16 TiB wanted"))) == 2
    assert capsys.readouterr().err == (
        "error: this takes more memory than there is (16 TiB wanted); take fewer qubits or smaller batches\n"
    )


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        for _ in range(2):
            warnings.warn("slow", RuntimeWarning, stacklevel=1)

    assert run_command(command) == 0
    assert capsys.readouterr().err == "warning: slow\n"


def test_ctrl_c_says_what_is_left_and_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\nstopped by Ctrl-C; no half-written file is left\n"
    assert run_command(raising(KeyboardInterrupt("3 epochs are saved"))) == 130
    assert capsys.readouterr().err == "\n3 epochs are saved\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("a bug"), OSError(errno.ECHILD, "a bug")])
def test_a_bug_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error), match="a bug"):
        run_command(raising(error))


def test_listing_is_cut_after_twenty_lines() -> None:
    assert listing(["one", "two"]) == "  one\n  two"
    assert listing(map(str, range(21))).splitlines()[-2:] == ["  19", "  … and 1 more"]
