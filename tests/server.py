"""The demo's server as a process of its own, for tests of its page and for its picture."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Server:
    """A running ``python -m pipeline demo``.

    Attributes:
        url: Where its page is.
        said: The line that it printed when it was ready.
        folder: Its working folder.
        temporary: Its folder for temporary files.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self.folder, self.temporary = folder / "work", folder / "temporary"
        self.said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert found, self.said + process.communicate()[1]
        self.url = found[0]

    def stop(self, sign: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """End it as Ctrl-C does: its exit code, and the rest of what it printed and complained of."""
        self.process.send_signal(sign)
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors


@contextmanager
def serving(run: Path, *flags: str, python: str | Path = sys.executable, **environment: str) -> Iterator[Server]:
    """Start the server on a run, and wait until it is ready; it is killed at the end, if it still runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        (folder / "temporary").mkdir()
        process = subprocess.Popen(
            [python, "-m", "pipeline", "demo", "--run", str(run), *flags],
            cwd=folder / "work",
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "temporary"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Server(process, folder)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
