"""Where a benchmark ran: the machine, and the peers' own environment, so that JAX is no dependency of this project."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from features.util.errors import InputError
from pipeline.bench.race.rival import FOLDER_OF_FASTQML, PEERS_FOLDER

PEERS_PACKAGES = ("tensorcircuit-ng", "jax", "optax")
FASTQML = ("--no-deps", "--target", str(FOLDER_OF_FASTQML), "fastqml")
LEFT_OUT = {
    "DeepQuantum": "needs torch and qiskit, 5 GB where torch brings CUDA, in the peers' environment; "
    "13.7 ms a step at 4 qubits, batch 4, when last measured",
    "TorchQuantum": "its newest release, 0.1.8, asks for TensorFlow, pyscf, Qiskit below 1 and dill 0.3.4; "
    "pip had not found versions that go together after four minutes (2026-11-25)",
}
"""Peers that take no part, and why."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a benchmark ran.

    Attributes:
        processor: Its name.
        cores: Cores that this process may use.
        memory_bytes: All of its memory.
        system: Name and release of the operating system.
        load: How busy it was: its load averages over 1, 5 and 15 minutes.
    """

    processor: str
    cores: int | None
    memory_bytes: int
    system: str
    load: list[float]


def peers_python() -> Path | None:
    """The interpreter of the peers' environment, if that has been made."""
    return PEERS_FOLDER / "bin" / "python" if _marker().is_file() else None


def make_peers_environment() -> Path:
    """Make the peers' environment where it is missing or of other packages; its interpreter.

    Raises:
        InputError: If pip can't install the packages.
    """
    packages = " ".join((*PEERS_PACKAGES, "fastqml"))
    python = PEERS_FOLDER / "bin" / "python"
    if _marker().is_file() and _marker().read_text(encoding="utf-8") == packages:
        return python
    print(f"installing {packages} into {PEERS_FOLDER.name}: about a minute, and 0.8 GB", flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(PEERS_FOLDER)],
        [str(python), "-m", "pip", "install", "--quiet", *PEERS_PACKAGES],
        [str(python), "-m", "pip", "install", "--quiet", "--upgrade", *FASTQML],
    ):
        if subprocess.run(command, check=False).returncode != 0:
            raise InputError(
                f"`{' '.join(command)}` failed; its message stands above. The peers need a connection to PyPI: "
                "run the benchmark without --peers, or try again"
            )
    _marker().write_text(packages, encoding="utf-8")
    return python


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        load=list(os.getloadavg()),
    )


def _marker() -> Path:
    return PEERS_FOLDER / ".ready"


def _field(file: str, name: str) -> str | None:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
