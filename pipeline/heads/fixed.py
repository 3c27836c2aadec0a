"""A trained dressed head in plain matrix products, for programs that know no quantum circuits.

In: features of shape (B, n_features), float32. Out: logits of shape (B, n_classes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from features.util.errors import InputError
from pipeline.quantum.compiled import CompiledCircuit
from pipeline.quantum.engine.chain import Chain, is_real
from pipeline.quantum.engine.observables import Observables
from pipeline.quantum.matrices import apply_matrix, rows_of
from pipeline.quantum.program.program import Program
from pipeline.quantum.program.tape import Gate, Measurement

MAX_QUBITS = 10
"""The circuit's matrix has 4ⁿ numbers: 4 MB at 10 qubits, four times as much with each further one."""


def fixed_head(
    compiled: CompiledCircuit,
    weights: torch.Tensor,
    pre_net: nn.Module,
    circuit_inputs: Callable[[torch.Tensor], torch.Tensor],
    post_net: nn.Module,
) -> nn.Module:
    """A trained head in plain matrix products.

    Args:
        compiled: Its circuit.
        weights: Its quantum weights, which are copied, as float32.
        pre_net, post_net: Its ends.
        circuit_inputs: Makes the circuit's inputs of the output of ``pre_net``.

    Raises:
        InputError: If its circuit has more than ``MAX_QUBITS`` qubits, or can't be written so.
    """
    program, fixed, shared = _fixable(compiled, weights)
    assert program.polynomials is not None
    observed = Observables(program.measurements, program.n_wires, np.dtype(float)).eigenvalues
    found = None
    if is_real(program) and program.polynomials.plain_inputs and observed is not None:
        found = Chain(program).behind_inputs(shared)
    circuit: nn.Module
    if found is None or observed is None:
        circuit = FixedProgram(program, fixed, shared)
    else:
        circuit = FixedChain(*found, observed)
    return FixedHead(pre_net, circuit_inputs, circuit, post_net)


def _fixable(compiled: CompiledCircuit, weights: torch.Tensor) -> tuple[Program, np.ndarray, np.ndarray]:
    """The program, its weights and the angles that all samples share; or an InputError, as of ``fixed_head``."""
    program, name = compiled.program, compiled.name
    if program is None or compiled.fallback_reason is not None:
        raise InputError(f"the circuit {name} can't be written as ONNX, because {compiled.fallback_reason}")
    if program.polynomials is None or any(p is not None and p.kind == "matrix" for p in program.parameters):
        raise InputError(
            f"the circuit {name} can't be written as ONNX, because its angles are no polynomials of degree 2 or "
            "less in inputs and weights; use the network in Python: HybridClassifier.load"
        )
    if program.amplitudes is not None and program.amplitudes.traced:
        raise InputError(
            f"the circuit {name} can't be written as ONNX, because its amplitudes are a function of the inputs"
        )
    if program.n_wires > MAX_QUBITS:
        raise InputError(
            f"the circuit {name} has {program.n_wires} qubits; as matrix products a circuit can have at most "
            f"{MAX_QUBITS}. Train one of fewer (--qubits), or use the network in Python: HybridClassifier.load, "
            "whose demo_state_dict() gives its weights"
        )
    fixed = weights.detach().double().cpu().numpy()
    return program, fixed, program.polynomials(np.zeros((program.n_inputs, 1)), fixed[:, None]).shared[:, 0]


class FixedHead(nn.Module):
    """A circuit in matrix products between the ends of a head. Arguments as of ``fixed_head``."""

    def __init__(
        self,
        pre_net: nn.Module,
        circuit_inputs: Callable[[torch.Tensor], torch.Tensor],
        circuit: nn.Module,
        post_net: nn.Module,
    ) -> None:
        super().__init__()
        self.pre_net, self.circuit_inputs, self.circuit, self.post_net = pre_net, circuit_inputs, circuit, post_net

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features)."""
        return self.post_net(self.circuit(self.circuit_inputs(self.pre_net(features))))


class FixedChain(nn.Module):
    """A circuit of real gates that takes each input once and measures in the basis of Z, its weights fixed.

    All gates behind the inputs are one matrix, from the cosines and sines of ``signs @ x``. So the expectation values
    are three products: signs, matrix, and eigenvalues over the squares.

    Args:
        signs: Shape (R/2, n_inputs).
        matrix: Shape (2ⁿ, R).
        eigenvalues: Shape (n_outputs, 2ⁿ).
    """

    signs: torch.Tensor
    matrix: torch.Tensor
    eigenvalues: torch.Tensor

    def __init__(self, signs: np.ndarray, matrix: np.ndarray, eigenvalues: np.ndarray) -> None:
        super().__init__()
        for name, values in (("signs", signs), ("matrix", matrix), ("eigenvalues", eigenvalues)):
            self.register_buffer(name, torch.from_numpy(values).float().T.contiguous())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The circuit's outputs (B, n_outputs) of its inputs (B, n_inputs)."""
        phases = inputs @ self.signs
        amplitudes = torch.cat([phases.cos(), phases.sin()], dim=1) @ self.matrix
        return (amplitudes * amplitudes) @ self.eigenvalues


class FixedProgram(nn.Module):
    """Any traced circuit in real matrix products, its weights fixed.

    A state is a row of 2ⁿ real and 2ⁿ imaginary parts. All gates between two rotations by a function of the inputs are
    one matrix; such a rotation exp(-iθP/2) is cos(θ/2) times the state and sin(θ/2) times the state behind the matrix
    of -iP.

    Args:
        program: The circuit.
        weights: Its weights.
        shared: The angles that all samples share.
    """

    constants: torch.Tensor
    linear: torch.Tensor
    quadratic: torch.Tensor
    places: torch.Tensor

    def __init__(self, program: Program, weights: np.ndarray, shared: np.ndarray) -> None:
        super().__init__()
        assert program.polynomials is not None
        self.amplitudes, self.n_inputs = program.amplitudes, program.n_inputs
        self.dim = 2**program.n_wires
        self._fix_angles(program.polynomials.coefficients("batched"), weights)
        self.rotations: list[int] = []
        matrix = np.eye(self.dim, dtype=complex)
        for gate, parameter in zip(program.gates, program.parameters, strict=True):
            if parameter is not None and parameter.kind == "batched":
                self._add("fixed", matrix)
                self._add("turned", -1j * _on_wires(_word(gate.word), gate.wires, program.n_wires))
                self.rotations.append(parameter.index)
                matrix = np.eye(self.dim, dtype=complex)
            else:
                angle = None if parameter is None else shared[parameter.index]
                matrix = apply_matrix(_gate_matrix(gate, angle), gate.wires, matrix)
        self._add("fixed", matrix)
        self.outputs = [self._add_measurement(m, program.n_wires) for m in program.measurements]
        if program.amplitudes is not None:
            self.register_buffer("places", torch.from_numpy(_places(program.amplitudes.wires, program.n_wires)).float())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The circuit's outputs (B, n_outputs) of its inputs (B, n_inputs)."""
        state = self.states(inputs)
        return torch.cat([self._measured(state, *output) for output in self.outputs], dim=1)

    def states(self, inputs: torch.Tensor) -> torch.Tensor:
        """Its states, (B, 2 · 2ⁿ): the real parts, then the imaginary ones."""
        state = self._start(inputs)
        products = inputs[:, self.first] * inputs[:, self.second]
        angles = (self.constants + inputs @ self.linear + products @ self.quadratic) / 2
        for k, index in enumerate(self.rotations):
            state = state @ self.get_buffer(f"fixed{k}")
            half = angles[:, index : index + 1]
            # Its cosine as a sine: ONNX Runtime before 1.30 has none in double precision.
            state = (half + math.pi / 2).sin() * state + half.sin() * (state @ self.get_buffer(f"turned{k}"))
        return state @ self.get_buffer(f"fixed{len(self.rotations)}")

    def _start(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.amplitudes is None:
            return torch.cat(
                [torch.ones_like(inputs[:, :1]), torch.zeros_like(inputs[:, :1]).expand(-1, self.dim * 2 - 1)], 1
            )
        missing = self.places.shape[0] - inputs.shape[1]
        if missing:
            inputs = torch.cat(
                [inputs, torch.zeros_like(inputs[:, :1]).expand(-1, missing) + (self.amplitudes.pad or 0)], 1
            )
        if self.amplitudes.normalise:
            inputs = inputs / (inputs * inputs).sum(dim=1, keepdim=True).sqrt()
        return inputs @ self.places

    def _measured(self, state: torch.Tensor, kind: str, k: int) -> torch.Tensor:
        if kind == "quadratic":
            return (state * (state @ self.get_buffer(f"observable{k}"))).sum(dim=1, keepdim=True)
        return (state * state) @ self.get_buffer(f"observable{k}")

    def _add(self, name: str, matrix: np.ndarray) -> None:
        """A complex matrix as one that a row of real and imaginary parts is multiplied by."""
        count = sum(known.startswith(name) for known, _ in self.named_buffers())
        self.register_buffer(f"{name}{count}", torch.from_numpy(_real(matrix).T.copy()).float())

    def _add_measurement(self, measured: Measurement, n: int) -> tuple[str, int]:
        k = sum(name.startswith("observable") for name, _ in self.named_buffers())
        if measured.kind == "probs":
            table = np.zeros((2**n, 2 ** len(measured.wires)))
            bits = (np.arange(2**n)[:, None] >> (n - 1 - np.asarray(measured.wires))) & 1
            table[np.arange(2**n), bits @ (1 << np.arange(len(measured.wires))[::-1])] = 1
            self.register_buffer(f"observable{k}", torch.from_numpy(np.concatenate([table, table])).float())
            return "squares", k
        if measured.kind == "pauli":
            matrix = sum(
                factor * _on_wires(_word("".join(letter for _, letter in word)), [wire for wire, _ in word], n)
                for factor, word in measured.terms
            )
        else:
            assert measured.matrix is not None
            matrix = _on_wires(measured.matrix, measured.wires, n)
        matrix = np.asarray(matrix)
        if np.array_equal(matrix, np.diag(np.diag(matrix))):
            diagonal = np.diag(matrix).real
            self.register_buffer(
                f"observable{k}", torch.from_numpy(np.concatenate([diagonal, diagonal])[:, None]).float()
            )
            return "squares", k
        self.register_buffer(f"observable{k}", torch.from_numpy(_real(matrix).T.copy()).float())
        return "quadratic", k

    def _fix_angles(self, coefficients: tuple[np.ndarray, ...], weights: np.ndarray) -> None:
        """The angles of samples as constants, and factors of inputs and of products of two inputs."""
        constants, linear, pairs, products = coefficients
        constants, by_inputs = constants + linear[:, self.n_inputs :] @ weights, linear[:, : self.n_inputs].copy()
        both = []
        for p, (i, j) in enumerate(np.asarray(pairs, int).reshape(-1, 2)):
            low, high = min(i, j), max(i, j)
            if low >= self.n_inputs:
                constants = constants + products[:, p] * weights[low - self.n_inputs] * weights[high - self.n_inputs]
            elif high >= self.n_inputs:
                by_inputs[:, low] += products[:, p] * weights[high - self.n_inputs]
            else:
                both.append((low, high, products[:, p]))
        self.first, self.second = [low for low, _, _ in both], [high for _, high, _ in both]
        quadratic = np.stack([factor for *_, factor in both]) if both else np.zeros((0, len(constants)))
        for name, values in (("constants", constants), ("linear", by_inputs.T), ("quadratic", quadratic)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)).float())


class FixedStates(FixedProgram):
    """The states of a circuit, its weights fixed: (B, 2 · 2ⁿ), the real parts and then the imaginary ones.

    Raises:
        InputError: As of ``fixed_head``.
    """

    def __init__(self, compiled: CompiledCircuit, weights: torch.Tensor) -> None:
        super().__init__(*_fixable(compiled, weights))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """States of inputs (B, n_inputs)."""
        return self.states(inputs)


_PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def _word(word: str) -> np.ndarray:
    matrix = np.ones((1, 1), complex)
    for letter in word:
        matrix = np.kron(matrix, _PAULI[letter])
    return matrix


def _gate_matrix(gate: Gate, angle: float | None) -> np.ndarray:
    if angle is None:
        assert gate.matrix is not None
        return gate.matrix
    word = _word(gate.word)
    return np.cos(angle / 2) * np.eye(len(word)) - 1j * np.sin(angle / 2) * word


def _on_wires(matrix: np.ndarray, wires: Sequence[int], n: int) -> np.ndarray:
    """A matrix on some wires as one on all n, the first wire most significant."""
    others = [wire for wire in range(n) if wire not in wires]
    order = [*wires, *others]
    whole = np.kron(matrix, np.eye(2 ** len(others))).reshape([2] * (2 * n))
    back = list(np.argsort(order))
    return whole.transpose(back + [n + k for k in back]).reshape(2**n, 2**n)


def _real(matrix: np.ndarray) -> np.ndarray:
    return np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])


def _places(wires: Sequence[int], n: int) -> np.ndarray:
    """Where amplitudes on some wires stand in a row of all real and imaginary parts: (2^k, 2 · 2ⁿ), zeros and ones."""
    table = np.zeros((2 ** len(wires), 2 * 2**n))
    table[np.arange(len(table)), rows_of(wires, n)] = 1
    return table
