"""Trace a quantum function: its gates, their angles as functions of inputs and weights, and its measurements.

In: a function in PennyLane's language and torch tensors for its arguments. Out: a ``Trace``: rotations
exp(-iθP/2) of Pauli words P, whose angles are torch tensors with torch's own graph, other parametrised gates as
matrices with a graph, and fixed matrices. Everything else is replaced by PennyLane's own decomposition.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch.overrides import TorchFunctionMode

from pipeline.quantum.program.measurements import (
    MAX_MATRIX_WIRES,
    Measurement,
    UnsupportedError,
    check_returned,
    is_variable,
    measurement,
    rotations_to_probabilities,
)

_IGNORED = ("Identity", "Barrier", "GlobalPhase", "WireCut", "Snapshot")
_WORDS = {"RX": "X", "RY": "Y", "RZ": "Z", "IsingXX": "XX", "IsingYY": "YY", "IsingZZ": "ZZ"}
# A phase shift is a rotation about Z but for a global phase, which no measurement sees.
_WORDS |= {"PhaseShift": "Z", "U1": "Z"}
_NAMED = ("Toffoli", "CSWAP")
MAX_CONTROLS = 3
"""Controls up to which a controlled rotation is a few rotations about Pauli words."""
# Their decompositions branch on values.
_AS_MATRIX = (
    "QubitUnitary",
    "C(QubitUnitary)",
    "ControlledQubitUnitary",
    "DiagonalQubitUnitary",
    "BlockEncode",
    "SpecialUnitary",
)


@dataclass(frozen=True)
class Gate:
    """One gate, on wires numbered from 0.

    Attributes:
        name: PennyLane's name, of fixed gates; ``rotation`` or ``matrix`` for others.
        wires: The wires it acts on.
        word: The Pauli word P of a rotation exp(-iθP/2), a letter a wire.
        matrix: The matrix of a fixed gate, complex128 of shape (2^wires, 2^wires).
    """

    name: str
    wires: tuple[int, ...]
    word: str = ""
    matrix: np.ndarray | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for equal gates."""
        values = None if self.matrix is None else self.matrix.round(9).tobytes()
        return self.name, self.wires, self.word, values


@dataclass(frozen=True)
class Trace:
    """What one call of a quantum function queued.

    Attributes:
        n_wires: Number of wires.
        gates: In order.
        parameters: The parameter of each gate: an angle of shape () or (B,), a matrix of shape (d, d) or (B, d, d), or
            None of a fixed gate.
        amplitudes: The initial state over ``state_wires``, of shape (2^k,) or (B, 2^k); None for |0…0⟩.
        state_wires: The wires of the initial state.
        measurements: The outputs.
        container: ``tuple``, ``list``, or ``single`` for one measurement outside any sequence.
        labels: The wires' labels, in order.
        measures_midway: Whether it has measurements in mid-circuit, so that its state on its own wires is mixed.
    """

    n_wires: int
    gates: tuple[Gate, ...]
    parameters: tuple[torch.Tensor | None, ...]
    amplitudes: torch.Tensor | None
    state_wires: tuple[int, ...]
    measurements: tuple[Measurement, ...]
    container: str
    labels: list[Any]
    measures_midway: bool

    @property
    def structure(self) -> tuple[Any, ...]:
        """The parts that must be the same for all values of inputs and weights."""
        gates = tuple(gate.key for gate in self.gates)
        return self.n_wires, gates, self.state_wires, tuple(m.key for m in self.measurements), self.container


def trace(
    function: Callable[..., Any],
    inputs: torch.Tensor,
    weights: Mapping[str, torch.Tensor],
    wires: Sequence[Any] | None = None,
) -> Trace:
    """Call a quantum function once and read its gates and measurements.

    Args:
        function: Takes ``inputs`` and the weights by name.
        inputs: Shape (n_inputs,) or (B, n_inputs).
        weights: Tensors by name.
        wires: Wire labels in order; those of the circuit, as they appear, if None.

    Raises:
        UnsupportedError: If the circuit has something that the batched simulators don't do.
    """
    with qml.queuing.AnnotatedQueue() as queue, _NoValueReads():
        result = function(inputs=inputs, **weights)
    tape = qml.tape.QuantumScript.from_queue(queue)
    if tape.shots:
        raise UnsupportedError("it runs with a finite number of shots")
    if missing := [] if wires is None else [wire for wire in tape.wires if wire not in wires]:
        raise UnsupportedError(f"wire {missing[0]!r} is not on the device")
    if not (tape.wires if wires is None else wires):
        raise UnsupportedError("it has no wires")
    check_returned(result)
    # A measurement in mid-circuit is one at the end, and what depends on it is controlled by its wire.
    (deferred, *_), _ = qml.defer_measurements(tape)
    labels = list(deferred.wires if wires is None else wires)
    labels += [wire for wire in deferred.wires if wire not in labels]
    place = {label: k for k, label in enumerate(labels)}
    states, operations = _split(deferred.operations)
    for m in deferred.measurements:
        operations += rotations_to_probabilities(m, len(deferred.measurements))
    pairs = [pair for operation in operations for pair in _primitives(operation, place)]
    return Trace(
        len(labels),
        tuple(gate for gate, _ in pairs),
        tuple(parameter for _, parameter in pairs),
        reduce(_product, (torch.as_tensor(state.parameters[0]) for state in states)) if states else None,
        tuple(place[wire] for state in states for wire in state.wires),
        tuple(measurement(m, place) for m in deferred.measurements),
        "single" if isinstance(result, qml.measurements.MeasurementProcess) else type(result).__name__,
        labels,
        deferred is not tape,
    )


def _split(operations: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Preparations of states on wires that nothing has acted on, and the other operations."""
    states: list[Any] = []
    others: list[Any] = []
    touched: set[Any] = set()
    for operation in operations:
        if operation.name in _IGNORED:
            continue
        is_first = touched.isdisjoint(operation.wires)
        is_state = is_first and isinstance(operation, (qml.StatePrep, qml.AmplitudeEmbedding))
        (states if is_state else others).append(operation)
        touched.update(operation.wires)
    return states, others


def _product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Amplitudes of two sets of wires side by side."""
    return (first[..., :, None] * second[..., None, :]).flatten(-2)


def _primitives(operation: Any, place: Mapping[Any, int]) -> Iterator[tuple[Gate, torch.Tensor | None]]:
    """Translate an operation to rotations, matrices and fixed gates, with their parameters."""
    name = operation.name
    if name in _IGNORED:
        return
    _refuse(operation)
    wires = tuple(place[wire] for wire in operation.wires)
    if not any(is_variable(parameter) for parameter in operation.parameters):
        if (name in _NAMED or len(wires) <= 2 or name in _AS_MATRIX) and operation.has_matrix:
            yield Gate(name, wires, matrix=_constant_matrix(operation)), None
            return
    else:
        rotation = _rotation(operation)
        if rotation is not None:
            word, angle = rotation
            kept = [k for k, letter in enumerate(word) if letter != "I"]
            if kept:
                yield Gate("rotation", tuple(wires[k] for k in kept), "".join(word[k] for k in kept)), angle
            return
    if name.startswith("C(") and len(operation.control_wires) <= MAX_CONTROLS and _has_word(operation.base):
        yield from _controlled(operation, place)
    elif (parts := None if name in _AS_MATRIX else _decomposition(operation)) is not None:
        for part in parts:
            yield from _primitives(part, place)
    elif operation.has_matrix and len(wires) <= MAX_MATRIX_WIRES:
        if any(is_variable(parameter) for parameter in operation.parameters):
            yield Gate("matrix", wires), torch.as_tensor(operation.matrix())
        else:
            yield Gate(name, wires, matrix=_constant_matrix(operation)), None
    else:
        raise UnsupportedError(f"{name} on {len(wires)} wires has no decomposition")


def _controlled(operation: Any, place: Mapping[Any, int]) -> Iterator[tuple[Gate, torch.Tensor]]:
    """Translate a controlled rotation about a Pauli word to 2^k rotations that commute, for k controls.

    A control is a projector, (1 ± Z)/2. Multiplied out, the generator is a sum of Pauli words. PennyLane's own
    decompositions of several controls read a batch of matrices as one matrix, and so depend on values.
    """
    base = operation.base
    if base.name == "Rot":
        for part in base.decomposition():
            yield from _controlled(qml.ctrl(part, operation.control_wires, operation.control_values), place)
        return
    rotation = _rotation(base)
    assert rotation is not None
    word, angle = rotation
    factors = [(place[wire], letter, 1.0) for wire, letter in zip(base.wires, word, strict=True) if letter != "I"]
    signs = [1 - 2 * int(value) for value in operation.control_values]
    controls = [(place[w], "Z", float(sign)) for w, sign in zip(operation.control_wires, signs, strict=True)]
    if base.name in ("PhaseShift", "U1"):
        # exp(iφ|1⟩⟨1|): the target is a control like the others.
        angle, factors, controls = -angle, [], [*controls, (place[base.wires[0]], "Z", -1.0)]
    for size in range(len(controls) + 1):
        for chosen in combinations(controls, size):
            words = [*factors, *chosen]
            if words:
                scale = np.prod([sign for *_, sign in words]) / 2 ** (len(controls) - (not factors))
                gate = Gate("rotation", tuple(wire for wire, *_ in words), "".join(letter for _, letter, _ in words))
                yield gate, angle * scale


def _refuse(operation: Any) -> None:
    if isinstance(operation, qml.operation.Channel):
        raise UnsupportedError(f"it has the channel {operation.name}")
    if isinstance(operation, qml.Projector):
        raise UnsupportedError("it keeps one outcome of a measurement in mid-circuit")
    if not isinstance(operation, qml.operation.Operator):
        raise UnsupportedError(f"{operation} is no gate")


def _has_word(operation: Any) -> bool:
    """Whether it is a rotation about a Pauli word, or some in a row."""
    return operation.name == "Rot" or _rotation(operation) is not None


def _rotation(operation: Any) -> tuple[str, torch.Tensor] | None:
    """The Pauli word of a rotation, a letter a wire, and its angle; None for other gates."""
    word, factor = _WORDS.get(operation.name), 1 + 0j
    if operation.name == "MultiRZ":
        word = "Z" * len(operation.wires)
    elif operation.name == "PauliRot":
        word = operation.hyperparameters["pauli_word"]
    elif isinstance(operation, qml.ops.Exp) and len(operation.base.pauli_rep or ()) == 1:
        # exp(c·P), where c is the parameter, or -i times the parameter of an evolution.
        ((letters, coefficient),) = operation.base.pauli_rep.items()
        word = "".join(letters[wire] for wire in operation.wires)
        factor = (2 if isinstance(operation, qml.ops.Evolution) else 2j) * coefficient
    if word is None:
        return None
    angle = operation.parameters[0]
    if not isinstance(angle, torch.Tensor):
        angle = torch.as_tensor(np.asarray(angle, dtype=complex))
    angle = angle if factor == 1 else angle * factor
    return word, angle.real if angle.is_complex() else angle


def _decomposition(operation: Any) -> list[Any] | None:
    """PennyLane's decomposition of a gate; None where it has none, or fails for torch's tensors but for a matrix."""
    try:
        return operation.decomposition() if operation.has_decomposition else None
    except ImportError:
        # That of an evolution asks torch for a function of NumPy's.
        return None


def _constant_matrix(operation: Any) -> np.ndarray:
    matrix = np.asarray(qml.math.unwrap([qml.matrix(operation)])[0], dtype=complex)
    if matrix.ndim == 3 and np.allclose(matrix, matrix[:1], rtol=0, atol=1e-12):
        # PennyLane's decompositions give fixed angles once a sample.
        return matrix[0]
    if matrix.ndim != 2:
        raise UnsupportedError(f"{operation.name} has a batch of fixed matrices")
    return matrix


class _NoValueReads(TorchFunctionMode):
    """Refuse code outside PennyLane that turns a tensor into a number, because gates may then depend on its value."""

    _READS = ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy", "__array__")
    _LIBRARIES = ("pennylane", "autoray", "torch", "numpy", "scipy")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self._READS:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.split(".")[0] not in self._LIBRARIES:
                raise UnsupportedError(f"it reads the value of a tensor ({name.strip('_')}): gates may depend on it")
        return func(*args, **(kwargs or {}))
