"""Circuits of a test's own as what ``diagnose`` measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.diagnostics.subject import Subject
from pipeline.heads.bound import bind
from pipeline.heads.dressed import compiled_circuit


def subject_of(function: Callable[..., Any], n_inputs: int, n_weights: int, **more: Any) -> Subject:
    """A quantum function of ``inputs`` and ``weights``, on as many wires as inputs."""
    circuit = bind(function, {"weights": (n_weights,)}, n_inputs, 1)
    compiled = compiled_circuit(circuit, "lightning", "default.qubit", "complex128")
    return Subject(name=function.__name__, circuit=circuit, compiled=compiled, **more)
