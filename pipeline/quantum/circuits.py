"""Circuits by name: a documented quantum function each, and its source.

In: inputs (…, n_inputs), weights by name, and the number of qubits. Out: PennyLane's measurements. A further circuit is
a function here and its entry in ``CIRCUITS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pennylane as qml

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class NamedCircuit:
    """An entry of ``CIRCUITS``.

    Attributes:
        function: Takes ``inputs`` (…, n_inputs), the weights by name, and ``n_qubits``.
        weight_shapes: Of a number of qubits and a depth.
        summary: What it is, in a few words.
        amplitudes: Whether inputs are the amplitudes of a state: 2ⁿ of them, and features need no layer in front.
    """

    function: Callable[..., Any]
    weight_shapes: Callable[[int, int], Shapes]
    summary: str
    amplitudes: bool = False


def _expectations(n_qubits: int) -> list[Any]:
    """⟨Z⟩ of every wire."""
    return [qml.expval(qml.PauliZ(wire)) for wire in range(n_qubits)]


def mari(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """H and RY(x) on every wire, then layers of a chain of CNOTs and RY: ``pipeline.quantum.circuit.Circuit``.

    Source: Mari et al., arXiv:1912.08278, figure 2.
    """
    from pipeline.quantum.circuit import Circuit

    return Circuit(n_qubits=n_qubits, depth=len(weights))(inputs, weights.reshape(-1))


def strongly_entangling(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """RY(x) on every wire, then layers of Rot and a ring of CNOTs whose range grows.

    Source: Schuld et al., arXiv:1804.00633; PennyLane's ``StronglyEntanglingLayers``.
    """
    qml.AngleEmbedding(inputs, wires=range(n_qubits), rotation="Y")
    qml.StronglyEntanglingLayers(weights, wires=range(n_qubits))
    return _expectations(n_qubits)


def basic_entangler(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """RY(x) on every wire, then layers of RX and a closed ring of CNOTs.

    Source: PennyLane's ``BasicEntanglerLayers``.
    """
    qml.AngleEmbedding(inputs, wires=range(n_qubits), rotation="Y")
    qml.BasicEntanglerLayers(weights, wires=range(n_qubits))
    return _expectations(n_qubits)


def reuploading(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """RY(x) on every wire before each strongly entangling layer.

    Source: Pérez-Salinas et al., "Data re-uploading for a universal quantum classifier", arXiv:1907.02085.
    """
    for layer in weights:
        qml.AngleEmbedding(inputs, wires=range(n_qubits), rotation="Y")
        qml.StronglyEntanglingLayers(layer[None], wires=range(n_qubits))
    return _expectations(n_qubits)


def iqp(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """H, RZ(x) and exp(-i x_j x_k ZZ / 2) on all pairs, then strongly entangling layers.

    Source: Havlíček et al., arXiv:1804.11326; PennyLane's ``IQPEmbedding``.
    """
    qml.IQPEmbedding(inputs, wires=range(n_qubits))
    qml.StronglyEntanglingLayers(weights, wires=range(n_qubits))
    return _expectations(n_qubits)


def amplitude(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """The inputs, padded with zeros and normalised, are the amplitudes; then strongly entangling layers.

    512 features are exactly 9 qubits, without a classical layer in front. Source: Schuld et al., arXiv:1804.00633;
    PennyLane's ``AmplitudeEmbedding``.
    """
    qml.AmplitudeEmbedding(inputs, wires=range(n_qubits), pad_with=0.0, normalize=True)
    qml.StronglyEntanglingLayers(weights, wires=range(n_qubits))
    return _expectations(n_qubits)


def simplified_two_design(inputs: Any, first: Any, weights: Any, n_qubits: int) -> list[Any]:
    """RY(x) on every wire, RY, then layers of CZ on neighbours followed by RY on both.

    Source: Cerezo et al., arXiv:2001.00550; PennyLane's ``SimplifiedTwoDesign``.
    """
    qml.AngleEmbedding(inputs, wires=range(n_qubits), rotation="Y")
    qml.SimplifiedTwoDesign(first, weights, wires=range(n_qubits))
    return _expectations(n_qubits)


def separable(inputs: Any, weights: Any, n_qubits: int) -> list[Any]:
    """RY(x) and layers of Rot on every wire, without an entangling gate: what classical computers do easily.

    Source: Bowles et al., arXiv:2403.07059, the control without entanglement.
    """
    qml.AngleEmbedding(inputs, wires=range(n_qubits), rotation="Y")
    for layer in weights:
        for wire in range(n_qubits):
            qml.Rot(layer[wire, 0], layer[wire, 1], layer[wire, 2], wires=wire)
    return _expectations(n_qubits)


def _three_angles(n_qubits: int, depth: int) -> Shapes:
    return {"weights": (depth, n_qubits, 3)}


def _one_angle(n_qubits: int, depth: int) -> Shapes:
    return {"weights": (depth, n_qubits)}


def _two_design(n_qubits: int, depth: int) -> Shapes:
    return {"first": (n_qubits,), "weights": (depth, n_qubits - 1, 2)}


CIRCUITS: dict[str, NamedCircuit] = {
    "mari": NamedCircuit(function=mari, weight_shapes=_one_angle, summary="the paper's: RY and a chain of CNOTs"),
    "strongly-entangling": NamedCircuit(
        function=strongly_entangling, weight_shapes=_three_angles, summary="Rot and rings of CNOTs"
    ),
    "basic-entangler": NamedCircuit(
        function=basic_entangler, weight_shapes=_one_angle, summary="RX and a ring of CNOTs"
    ),
    "reuploading": NamedCircuit(
        function=reuploading, weight_shapes=_three_angles, summary="inputs again before each entangling layer"
    ),
    "iqp": NamedCircuit(function=iqp, weight_shapes=_three_angles, summary="inputs and their products as phases"),
    "amplitude": NamedCircuit(
        function=amplitude, weight_shapes=_three_angles, summary="features are the amplitudes", amplitudes=True
    ),
    "simplified-two-design": NamedCircuit(
        function=simplified_two_design, weight_shapes=_two_design, summary="CZ and RY on neighbours"
    ),
    "separable": NamedCircuit(function=separable, weight_shapes=_three_angles, summary="Rot without entangling gates"),
}


def embeds_amplitudes(name: str) -> bool:
    """Whether a circuit by name takes features as amplitudes."""
    return name in CIRCUITS and CIRCUITS[name].amplitudes
