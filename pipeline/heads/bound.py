"""The circuit of a head: by name, from a file, or a quantum function, bound to its sizes.

In: what ``--circuit`` or ``DressedQuantumNet(circuit=…)`` takes. Out: a ``BoundCircuit``, a quantum function of
inputs and one flat vector of weights.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pennylane as qml

from features.util.errors import did_you_mean
from pipeline.heads.config import circuit_problems
from pipeline.quantum.circuits import CIRCUITS, Shapes
from pipeline.quantum.portable import portable, restored
from pipeline.quantum.signature import check_signature, weight_shape

# The name of a circuit's file in tracebacks.
FILE_NAME = "<circuit file>"


@dataclass(frozen=True, eq=False)
class BoundCircuit:
    """A quantum function of inputs and flat weights, to be called inside a QNode.

    Attributes:
        name: The name it was asked for by.
        function: Takes ``inputs`` and the weights by name.
        weight_shapes: Shape of each weight, in the order of the flat vector.
        n_inputs: Inputs a sample.
        arguments: Its sizes, for a record.
        source: The text of the file that it comes from; None for the others.
        qnode: The QNode that it was given as, which keeps its device.
    """

    name: str
    function: Callable[..., Any]
    weight_shapes: Shapes
    n_inputs: int
    arguments: dict[str, Any]
    source: str | None = None
    qnode: Any = None

    def __call__(self, inputs: Any, weights: Any) -> Any:
        """Queue the gates and measurements.

        Args:
            inputs: Shape (n_inputs,) or (B, n_inputs).
            weights: Shape (n_weights,).
        """
        pieces, start = {}, 0
        for name, shape in self.weight_shapes.items():
            stop = start + math.prod(shape)
            pieces[name] = weights[start:stop].reshape(shape)
            start = stop
        return self.function(inputs, **pieces)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def n_qubits(self) -> int:
        """Wires."""
        return self.arguments["n_qubits"]

    @property
    def n_weights(self) -> int:
        """The length of the flat vector of weights."""
        return sum(map(math.prod, self.weight_shapes.values()))

    def __deepcopy__(self, memo: dict[int, Any]) -> BoundCircuit:
        return self

    def __getstate__(self) -> dict[str, Any]:
        if self.qnode is None:
            return self.__dict__
        return self.__dict__ | {"qnode": portable(self.qnode), "function": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["qnode"] is not None:
            qnode = restored(state["qnode"])
            state = state | {"qnode": qnode, "function": qnode.func}
        self.__dict__.update(state)


@dataclass(frozen=True)
class SourceFunction:
    """A quantum function from the text of a file. It pickles as its text."""

    source: str
    name: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it."""
        return _namespace(self.source)[self.name](*arguments, **named)


def bind(
    circuit: Callable[..., Any] | str,
    weight_shapes: Mapping[str, Any] | None,
    n_qubits: int,
    depth: int,
    n_inputs: int | None = None,
) -> BoundCircuit:
    """A circuit by name, from a file, or a quantum function or QNode with the shapes of its weights.

    Raises:
        ValueError: If there is no such circuit, or a function comes without the shapes of its weights.
    """
    if isinstance(circuit, str):
        return circuit_named(circuit, n_qubits, depth, n_inputs)
    if isinstance(circuit, BoundCircuit):
        return circuit
    function = circuit.func if isinstance(circuit, qml.QNode) else circuit
    name = getattr(function, "__name__", type(function).__name__)
    if weight_shapes is None:
        raise ValueError(f"the circuit {name} comes without weight_shapes; give the shape of each weight by name")
    shapes = {key: weight_shape(value) for key, value in weight_shapes.items()}
    check_signature(name, function, shapes)
    qnode = circuit if isinstance(circuit, qml.QNode) else None
    return BoundCircuit(name, function, shapes, n_inputs or n_qubits, {"n_qubits": n_qubits}, qnode=qnode)


def circuit_named(wanted: str, n_qubits: int, depth: int, n_inputs: int | None = None) -> BoundCircuit:
    """A circuit of ``CIRCUITS``, or of a file.

    Args:
        wanted: A name, or ``my_circuit.py:name``.
        n_qubits: Wires; a circuit of amplitudes takes as many as ``n_inputs`` need instead.
        depth: Layers.
        n_inputs: Inputs a sample; as many as the circuit has wires, or amplitudes, if None.

    Raises:
        ValueError: If there is no such circuit, or the file holds none that can be used.
    """
    if ":" in wanted:
        return circuit_of_source(read_source(wanted), wanted, n_qubits, depth, n_inputs)
    if problems := circuit_problems("circuit", wanted):
        raise ValueError(*problems)
    return _named(wanted, n_qubits, depth, n_inputs)


def read_source(wanted: str) -> str:
    """The text of the file of ``my_circuit.py:name``.

    Raises:
        ValueError: If it can't be read.
    """
    path = wanted.rpartition(":")[0]
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"the circuit's file {path} can't be read ({reason}); give --circuit FILE.py:NAME") from error


def source_sha256(source: str) -> str:
    """Fingerprint of a circuit's file."""
    return hashlib.sha256(source.encode()).hexdigest()


@lru_cache(maxsize=64)
def circuit_of_source(source: str, wanted: str, n_qubits: int, depth: int, n_inputs: int | None = None) -> BoundCircuit:
    """A circuit from the text of a file, which is run.

    The file holds the quantum function and ``weight_shapes``: a dict of shapes, or a function of (n_qubits, depth) that
    returns one. Arguments of the function named ``n_qubits`` and ``depth`` are given to it.

    Raises:
        ValueError: If the text does not run, or has no such function, or its arguments are not inputs and weights.
    """
    name = wanted.rpartition(":")[2]
    try:
        namespace = _namespace(source)
    except (Exception, SystemExit) as error:  # a script that ends with sys.exit(main()) would end us without a word
        raise ValueError(f"the circuit {wanted} can't be loaded: {type(error).__name__}: {error}") from error
    found = namespace.get(name)
    if isinstance(found, qml.QNode):
        raise ValueError(f"the circuit {wanted} is a QNode; leave the decorator @qml.qnode out: the function is wanted")
    if not callable(found):
        known = [key for key, value in namespace.items() if inspect.isfunction(value) and not key.startswith("_")]
        raise ValueError(
            f"the circuit's file has no function {name}{did_you_mean(name, known)}; its functions are "
            f"{', '.join(known) or 'none'}: give --circuit FILE.py:NAME"
        )
    shapes = namespace.get("weight_shapes")
    if callable(shapes):
        shapes = shapes(n_qubits, depth)
    if not isinstance(shapes, Mapping):
        has = "has no weight_shapes" if shapes is None else f"has {shapes!r} for weight_shapes"
        raise ValueError(
            f'the circuit {wanted} {has}; give its file a line like weight_shapes = {{"weights": (3, 4)}}, with the '
            "shape of each weight by name"
        )
    parameters = inspect.signature(found).parameters
    sizes = {key: value for key, value in (("n_qubits", n_qubits), ("depth", depth)) if key in parameters}
    check_signature(wanted, found, {*shapes, *sizes})
    function: Callable[..., Any] = SourceFunction(source, name)
    return BoundCircuit(
        wanted,
        partial(function, **sizes) if sizes else function,
        {key: weight_shape(value) for key, value in shapes.items()},
        n_inputs or n_qubits,
        {"n_qubits": n_qubits, "depth": depth},
        source,
    )


@lru_cache(maxsize=64)
def _named(wanted: str, n_qubits: int, depth: int, n_inputs: int | None) -> BoundCircuit:
    entry = CIRCUITS[wanted]
    if entry.amplitudes and n_inputs:
        n_qubits = max(1, math.ceil(math.log2(n_inputs)))
    if n_inputs and not entry.amplitudes:
        n_qubits = n_inputs
    shapes = entry.weight_shapes(n_qubits, depth)
    return BoundCircuit(
        wanted,
        partial(entry.function, n_qubits=n_qubits),
        shapes,
        n_inputs or (2**n_qubits if entry.amplitudes else n_qubits),
        {"n_qubits": n_qubits, "depth": depth},
    )


@lru_cache(maxsize=16)
def _namespace(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "circuit_file"}
    exec(compile(source, FILE_NAME, "exec"), namespace)  # the user's own file
    return namespace
