"""One rival in one process: it answers requests, one line of JSON each, on its standard input and output.

In: a piece of work, then ``check``, ``time`` as often as wanted, ``close``. Out: results, seconds, bytes.

Each piece of work runs in a fresh child, forked from a process that has only imported its libraries, so that memory
left by one piece does not hide that of the next. Needs nothing but NumPy, because the peers run it under their own
interpreter, without the rest of this package.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

N_FEATURES, N_CLASSES, LEARNING_RATE = 512, 2, 4e-4
ANY_CIRCUIT = ("rot", "reuploading", "strongly_entangling")
"""The kinds of work with a circuit other than the paper's."""
LEAD_IN = 0.1
"""Share of untimed calls before each block, which refill the caches after the other rivals."""


@dataclass(frozen=True)
class Work:
    """A piece of work, the same numbers for every rival.

    Attributes:
        kind: ``circuit``: expectation values, and the gradients of Σ upstream · values for angles and weights.
            ``step``: a training step of the head: logits, mean cross-entropy, its gradients, Adam.
            ``rot``, ``reuploading``: as ``circuit``, of layers of Rot and a chain of CNOTs behind RY(x) on every wire,
            once in front or before every layer. ``strongly_entangling``: RY(x), PennyLane's StronglyEntanglingLayers,
            and an Adam step of the weights.
        qubits: Wires of the circuit.
        batch: Samples.
        depth: Variational layers.
        seed: What the numbers are drawn from.
    """

    kind: str
    qubits: int
    batch: int
    depth: int = 6
    seed: int = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """float32, but ``labels`` (int64). Circuit: ``angles`` and ``upstream`` (batch, qubits), ``q_params``.

        Of ``rot`` and the like ``q_params`` has shape (depth, qubits, 3).
        Step: ``features`` (batch, 512), ``labels`` (batch,), and parameters under their names in a ``state_dict``.
        """
        rng = np.random.default_rng([self.seed, self.qubits, self.batch])
        q_params = rng.normal(0, 0.5, self.depth * self.qubits)
        if self.kind != "step":
            if self.kind in ANY_CIRCUIT:
                q_params = rng.uniform(0, 2 * np.pi, (self.depth, self.qubits, 3))
            drawn = {
                "angles": rng.uniform(-np.pi / 2, np.pi / 2, (self.batch, self.qubits)),
                "upstream": rng.normal(0, 1, (self.batch, self.qubits)),
                "q_params": q_params,
            }
        else:
            drawn = {
                "features": np.abs(rng.normal(0, 1, (self.batch, N_FEATURES))),
                "pre_net.weight": rng.uniform(-1, 1, (self.qubits, N_FEATURES)) / N_FEATURES**0.5,
                "pre_net.bias": rng.uniform(-1, 1, self.qubits) / N_FEATURES**0.5,
                "q_params": q_params,
                "post_net.weight": rng.uniform(-1, 1, (N_CLASSES, self.qubits)) / self.qubits**0.5,
                "post_net.bias": rng.uniform(-1, 1, N_CLASSES) / self.qubits**0.5,
            }
        arrays = {name: values.astype(np.float32) for name, values in drawn.items()}
        return arrays if self.kind != "step" else arrays | {"labels": rng.integers(0, N_CLASSES, self.batch)}


class Task(Protocol):
    """A rival's way of doing a piece of work.

    Attributes:
        units: How many pieces of work one call does.
    """

    units: int

    def __call__(self) -> Any:
        """Do it once, to the end: this is what is timed."""

    def results(self, first: Any, second: Any) -> dict[str, Any]:
        """Arrays to compare with the reference's, from what two calls returned, nothing having run in between.

        Circuit: ``values``, ``angles`` and ``q_params``, the last two gradients, of the second call; no ``angles`` of
        ``strongly_entangling``. Step: ``logits``
        and ``logits_2`` of the first and second call, and the parameters' gradients, by name, of the second. Some may
        be left out.
        """


def serve(make: Callable[[Work], Task], libraries: tuple[str, ...]) -> None:
    """Answer requests until the input ends. ``make`` prepares a piece of work, or raises ValueError if it can't.

    Only to be called by a process's main function, before anything has started threads.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up among the answers
    _answer(answers, {"versions": _versions(libraries)})
    for line in sys.stdin:
        # sys.stdin has read no further than this line: the other side asks nothing before it has the answer.
        child = os.fork()
        if child == 0:
            _serve_one(Work(**json.loads(line)), make, answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            reason = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {status >> 8}"
            _answer(answers, {"error": f"its process died of {reason}", "died": True})


def _serve_one(work: Work, make: Callable[[Work], Task], answers: Any) -> None:
    """The child's part: one piece of work, until ``close``."""
    task: Task | None = None
    try:
        # Lazy imports and thread pools are paid once a process, so they don't count for this work.
        small = make(Work(work.kind, 2, 2, 1))
        small.results(small(), small())
        del small
        _answer(answers, {"opened": True})
    except Exception as error:
        _answer(answers, _problem(error))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "close":
                _answer(answers, {"closed": True})
                return
            if request["do"] == "check":
                task, answer = _first_calls(work, make)
            elif task is None:
                answer = {"error": "not checked yet"}
            else:
                answer = _time(task, request["seconds"])
        except Exception as error:
            answer = _problem(error)
        _answer(answers, answer)


def _first_calls(work: Work, make: Callable[[Work], Task]) -> tuple[Task, dict[str, Any]]:
    """The first two calls: their results, seconds, and the most memory beyond what the process held before."""
    before = _settle_memory()
    started = time.perf_counter()
    task = make(work)
    made = time.perf_counter()
    first = task()
    first_seconds = time.perf_counter() - made
    first_peak = _peak_memory()
    # Memory that the first call keeps (registers, for example) counts; memory that it has freed does not.
    _settle_memory()
    restarted = time.perf_counter()
    second = task()
    seconds = time.perf_counter() - restarted
    peak = _peak_memory()
    results = {name: np.asarray(values, dtype=float).tolist() for name, values in task.results(first, second).items()}
    return task, {
        "results": results,
        "units": task.units,
        "make_seconds": made - started,
        "first_seconds": first_seconds,
        "second_seconds": seconds,
        "first_bytes": first_peak - before,
        "bytes": peak - before,
    }


def _time(task: Task, seconds: float) -> dict[str, Any]:
    """Call for so many seconds, at least once; the median call's seconds, by piece of work."""
    clock = time.perf_counter
    started = clock()
    if seconds > 0:
        task()
        while clock() - started < LEAD_IN * seconds:
            task()
    samples: list[float] = []
    began, cpu = clock(), time.process_time()
    now = began
    while not samples or now - began < seconds:
        before = now
        task()
        now = clock()
        samples.append(now - before)
    return {
        "seconds": float(np.median(samples)) / task.units,
        "calls": len(samples),
        "cores": (time.process_time() - cpu) / (now - began),
    }


def _settle_memory() -> int:
    """Return free memory to the system and reset the high-water mark; return the bytes held."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status_bytes("VmRSS")
    except (OSError, AttributeError):
        return _maximum_bytes()


def _peak_memory() -> int:
    try:
        return _status_bytes("VmHWM")
    except OSError:
        return _maximum_bytes()


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} in /proc/self/status")


def _maximum_bytes() -> int:
    """Without /proc: the largest memory that the process has ever held, which may hide later, smaller peaks."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _versions(libraries: tuple[str, ...]) -> Mapping[str, str]:
    return {"python": ".".join(map(str, sys.version_info[:3]))} | {name: metadata.version(name) for name in libraries}


def _answer(answers: Any, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _problem(error: Exception) -> dict[str, Any]:
    text = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return {"error": text, "refused": True}
    return {"error": f"{type(error).__name__}: {text}"}
