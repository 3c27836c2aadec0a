"""A rival in a process of its own: started, given a piece of work, asked one thing at a time.

In: an entrant. Out: its answers, as :mod:`pipeline.bench.race.worker` gives them.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.race.worker import Work

ROOT = Path(__file__).parents[3]
PEERS_FOLDER = ROOT / ".venv-peers"
"""The peers' environment."""
FOLDER_OF_FASTQML = PEERS_FOLDER / "fastqml"
"""fastQML alone: it runs with this project's own torch."""
PATIENCE = 300.0
"""Seconds for what happens once: to import, to compile."""


@dataclass(frozen=True)
class Entrant:
    """Who takes part.

    Attributes:
        name: As in every table.
        command: Starts its process.
        kinds: The kinds of work it does.
        checked: Whether its results are compared with the reference's.
        cells: Its only (qubits, batch); every one if None.
    """

    name: str
    command: tuple[str, ...]
    kinds: tuple[str, ...] = ("circuit", "step")
    checked: bool = True
    cells: tuple[tuple[int, int], ...] | None = None

    def takes_part(self, work: Work) -> bool:
        """Whether it does this work."""
        return work.kind in self.kinds and (self.cells is None or (work.qubits, work.batch) in self.cells)


class Rival:
    """An entrant's process.

    Args:
        entrant: Who it is.
        threads: How many its libraries may use.

    Attributes:
        versions: Its libraries, known after its first answer.
        working: Whether it holds a piece of work.
    """

    def __init__(self, entrant: Entrant, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self.entrant = entrant
        self.versions: dict[str, str] = {}
        self.working = False
        self._environment = os.environ | dict.fromkeys(names, str(threads))
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def start(self) -> None:
        """Start the process; it imports its libraries while others do."""
        self._process = subprocess.Popen(
            self.entrant.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children itself
        )
        self.versions, self._pending = {}, b""

    def open(self, work: Work) -> None:
        """Give it a piece of work.

        Raises:
            RivalError: If it can't start, or can't do it.
        """
        if self._process is None:
            self.start()
        self.versions = self.versions or self._line(PATIENCE)["versions"]
        self.working = True
        self.ask(asdict(work), PATIENCE)

    def ask(self, request: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Its answer to a request.

        Raises:
            RivalError: If it answers with an error, dies, or takes longer than ``patience`` seconds: it is then ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.end()
            raise RivalError("its process ended; what it said stands above") from None
        answer = self._line(patience)
        if "error" in answer:
            self.working = self.working and "died" not in answer
            raise RivalError(answer["error"], refused=answer.get("refused", False))
        return answer

    def close(self) -> None:
        """Drop its piece of work, if it holds one; end the process where that fails."""
        if self.working:
            self.working = False
            try:
                self.ask({"do": "close"}, PATIENCE)
            except RivalError:
                self.end()

    def end(self) -> None:
        """End the process, if there is one."""
        process, self._process, self.working = self._process, None, False
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def _line(self, patience: float) -> dict[str, Any]:
        """The next line of its output."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.end()
                    raise RivalError(f"stopped after {patience:.0f} s without an answer")
                piece = os.read(self._process.stdout.fileno(), 1 << 20)
                if not piece:
                    self.end()
                    raise RivalError("its process ended; what it said stands above")
                self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)


class RivalError(Exception):
    """A rival can't do its work; the message says why.

    Attributes:
        refused: Whether the rival itself reported the error, for example for lack of memory.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
