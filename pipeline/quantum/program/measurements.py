"""What a quantum function returns: expectation values and probabilities.

In: PennyLane's measurements. Out: a ``Measurement`` each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import torch

MAX_MATRIX_WIRES = 10
"""Wires up to which a gate or an observable is taken as its matrix."""


class UnsupportedError(ValueError):
    """The circuit cannot run on the batched simulators; the message says why."""


@dataclass(frozen=True)
class Measurement:
    """One output: ``expval`` of a sum of Pauli words or of a Hermitian matrix, or ``probs`` of wires.

    Attributes:
        kind: ``pauli``, ``hermitian`` or ``probs``.
        wires: The wires of the matrix or of the probabilities.
        terms: Of ``pauli``: coefficient and letters by wire of each word, as ((coefficient, ((wire, letter), …)), …).
        matrix: Of ``hermitian``: complex128.
    """

    kind: str
    wires: tuple[int, ...] = ()
    terms: tuple[tuple[float, tuple[tuple[int, str], ...]], ...] = ()
    matrix: np.ndarray | None = None

    @property
    def is_diagonal(self) -> bool:
        """Whether it is a sum of words of Z alone."""
        return self.kind == "pauli" and all(letter == "Z" for _, word in self.terms for _, letter in word)

    @property
    def size(self) -> int:
        """The number of values it yields a sample."""
        return 2 ** len(self.wires) if self.kind == "probs" else 1

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal measurements."""
        values = None if self.matrix is None else self.matrix.round(9).tobytes()
        terms = tuple((round(coefficient, 9), word) for coefficient, word in self.terms)
        return self.kind, self.wires, terms, values


def check_returned(result: Any) -> None:
    """Refuse a quantum function that returns anything but measurements.

    Raises:
        UnsupportedError: If it does.
    """
    for m in result if isinstance(result, (list, tuple)) else [result]:
        if not isinstance(m, qml.measurements.MeasurementProcess):
            raise UnsupportedError(f"it returns {type(m).__name__}, which is no measurement")


def rotations_to_probabilities(measured: Any, n_measurements: int) -> list[Any]:
    """The gates in front of probabilities of an observable's eigenvalues, which no other measurement may see.

    Raises:
        UnsupportedError: If there are other measurements.
    """
    if not isinstance(measured, qml.measurements.ProbabilityMP) or measured.obs is None:
        return []
    gates = measured.diagonalizing_gates()
    if gates and n_measurements > 1:
        raise UnsupportedError(f"it measures {measured} beside others")
    return gates


def measurement(measured: Any, place: Mapping[Any, int]) -> Measurement:
    """PennyLane's measurement on wires numbered from 0.

    Raises:
        UnsupportedError: If it is neither ``expval`` nor ``probs``, or its observable is variable or too large.
    """
    if isinstance(measured, qml.measurements.ProbabilityMP):
        wires = tuple(place[wire] for wire in measured.wires) or tuple(range(len(place)))
        return Measurement("probs", wires)
    if not isinstance(measured, qml.measurements.ExpectationMP) or measured.obs is None:
        raise UnsupportedError(f"it measures {measured}; expval and probs of wires run fast")
    observable = measured.obs
    if any(is_variable(parameter) for parameter in observable.data):
        raise UnsupportedError("an observable depends on inputs or weights")
    sentence = observable.pauli_rep
    if sentence is not None:
        terms = []
        for word, coefficient in sentence.items():
            value = complex(coefficient)
            if abs(value.imag) > 1e-12:
                raise UnsupportedError("an observable is not Hermitian")
            letters = tuple(sorted((place[wire], letter) for wire, letter in word.items()))
            terms.append((value.real, letters))
        return Measurement("pauli", terms=tuple(sorted(terms, key=lambda term: term[1])))
    wires = tuple(place[wire] for wire in observable.wires)
    if len(wires) > MAX_MATRIX_WIRES or not observable.has_matrix:
        raise UnsupportedError(f"the observable {observable.name} on {len(wires)} wires is neither words nor a matrix")
    matrix = np.asarray(qml.matrix(observable, wire_order=observable.wires), dtype=complex)
    return Measurement("hermitian", wires, matrix=matrix)


def is_variable(parameter: Any) -> bool:
    """Whether it may depend on inputs or weights: a tensor with a graph, or under a transform of ``torch.func``."""
    return isinstance(parameter, torch.Tensor) and (
        parameter.requires_grad or torch._C._functorch.is_functorch_wrapped_tensor(parameter)
    )
