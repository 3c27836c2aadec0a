"""The circuit as a few dense matrices: for many heads at once, and differentiable any number of times.

In: angles of shape (heads, B, n_qubits) and each head's weights (heads, n_weights). Out: ⟨Z⟩ of every wire, of the
angles' shape. Either in torch's own operations, or on NumPy arrays with a backward pass by hand.

A rotation is diagonal in the basis of its own Pauli matrix. So the circuit is a chain of diagonal phases, which hold
all that depends on inputs and weights, and of fixed matrices (basis out, entangler, basis in), which are the same for
every sample and every head: one matrix product serves all of them. The embedding is a layer of phases too.

Amplitudes are stored as real numbers, all real parts before all imaginary parts. Where every gate is real, the
amplitude of a common eigenstate of all Y is the complex conjugate of that with every eigenvalue reversed, so half of
them suffice. The matrices have 4ⁿ entries: this form is for few qubits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pennylane as qml
import torch

from pipeline.quantum.circuit import Circuit, Gate, is_real, rotation_groups, variational_gates, z_signs
from pipeline.quantum.mari.embedding import phase_basis, real_decoder

_TO_EIGENBASIS = {
    "RX": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "RY": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
    "RZ": np.eye(2),
}


@dataclass(frozen=True)
class DenseMemory:
    """Memory for ``DenseCircuit.backward``: R real numbers a state, columns by sample, then head.

    Attributes:
        states: After each layer of phases, shape (layers + 1, R, B · heads).
        outputs: In the basis of Z, shape (R, B · heads).
        rotations: (cos, sin) of the weights' phases, shape (2, layers, R/2, 1, heads).
    """

    states: np.ndarray
    outputs: np.ndarray
    rotations: np.ndarray


@dataclass(frozen=True)
class DenseCircuit:
    """A circuit as fixed matrices between layers of phases. Get it from ``dense_circuit``.

    With R real numbers for a state: the embedded state is (cos, sin) of ``input_signs @ x``; matrices[k] stands before
    the phases ``weight_signs[k] @ w`` of layer k; the last matrix leads to the basis of Z, where ``z_signs`` sums the
    squares.

    Attributes:
        input_signs: Shape (R/2, n_qubits).
        weight_signs: Shape (layers, R/2, n_weights).
        matrices: layers + 1 matrices of shape (R, R); equal ones are one object.
        z_signs: Shape (n_qubits, R).
    """

    input_signs: np.ndarray
    weight_signs: np.ndarray
    matrices: tuple[np.ndarray, ...]
    z_signs: np.ndarray

    def expectation_values(self, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire by torch's own operations.

        Args:
            angles: Shape (heads, B, n_qubits), in radians.
            weights: Shape (heads, n_weights), in radians, of the same device.

        Returns:
            Shape (heads, B, n_qubits), of the matrices' dtype.
        """
        n_heads, n_samples, n_qubits = angles.shape
        outputs = self._outputs(angles, weights)
        z_signs = torch.from_numpy(self.z_signs).to(angles.device)
        return (z_signs @ (outputs * outputs)).reshape(n_qubits, n_samples, n_heads).permute(2, 1, 0)

    def amplitudes(self, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The output states in the basis of Z by torch's own operations, from what ``expectation_values`` takes.

        Returns:
            Shape (heads, B, R): of a circuit of real gates the 2ⁿ amplitudes, of others first all real parts, then all
            imaginary parts.
        """
        n_heads, n_samples, _ = angles.shape
        return self._outputs(angles, weights).reshape(-1, n_samples, n_heads).permute(2, 1, 0)

    def output_matrix(self, weights: torch.Tensor) -> torch.Tensor:
        """The whole circuit behind the embedding as one matrix, for weights that no longer change.

        Args:
            weights: Shape (n_weights,), in radians.

        Returns:
            The matrix from the embedded state, (cos, sin) of ``input_signs @ x``, to the output state in the basis of
            Z, of shape (R', R): R' is 2ⁿ for a circuit of real gates, and R for others.
        """
        return self._evolved(torch.eye(self.matrices[0].shape[1], dtype=weights.dtype), weights[None])

    def _outputs(self, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The output states, shape (R, B · heads)."""
        input_signs = torch.from_numpy(self.input_signs).to(angles.device)
        # Heads go last, so that their phases broadcast along the contiguous axis.
        columns = angles.to(input_signs.dtype).permute(2, 1, 0).reshape(angles.shape[2], -1)
        phases = input_signs @ columns
        return self._evolved(torch.cat([phases.cos(), phases.sin()]), weights)

    def _evolved(self, state: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Apply the circuit to embedded states; both of shape (R, B · heads)."""
        constants = {id(m): torch.from_numpy(m).to(state.device) for m in self.matrices}
        weight_signs = torch.from_numpy(self.weight_signs).to(state.device)
        layers = (weight_signs @ weights.to(weight_signs.dtype).T)[:, :, None]
        for matrix, cos, sin in zip(self.matrices[:-1], layers.cos(), layers.sin(), strict=True):
            real, imag = (constants[id(matrix)] @ state).reshape(2, len(cos), -1, len(weights))
            state = torch.cat([cos * real - sin * imag, sin * real + cos * imag]).reshape(state.shape)
        return constants[id(self.matrices[-1])] @ state

    def forward(
        self, angles: np.ndarray, weights: np.ndarray, keep: bool = True
    ) -> tuple[np.ndarray, DenseMemory | None]:
        """The same on arrays of the matrices' dtype, with the memory for ``backward`` if ``keep``."""
        n_heads, n_samples, n_qubits = angles.shape
        layers = self.weight_signs @ weights.T
        rotations = np.stack([np.cos(layers), np.sin(layers)])[:, :, :, None]
        phases = self.input_signs @ angles.transpose(2, 1, 0).reshape(n_qubits, -1)
        states = np.empty((len(self.matrices) if keep else 1, 2 * len(phases), phases.shape[1]), dtype=phases.dtype)
        np.cos(phases, out=states[0, : len(phases)])
        np.sin(phases, out=states[0, len(phases) :])
        for layer, (matrix, cos, sin) in enumerate(zip(self.matrices, *rotations, strict=False)):
            before = (matrix @ states[layer if keep else 0]).reshape(2, -1, n_samples, n_heads)
            after = states[layer + 1 if keep else 0].reshape(before.shape)
            np.multiply(before, cos, out=after)
            before *= sin
            after[0] -= before[1]
            after[1] += before[0]
        outputs = self.matrices[-1] @ states[-1]
        values = self.z_signs @ (outputs * outputs)
        return values.reshape(n_qubits, n_samples, n_heads).transpose(2, 1, 0), DenseMemory(
            states, outputs, rotations
        ) if keep else None

    def backward(
        self, memory: DenseMemory, upstream: np.ndarray, need_angles: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of a loss with respect to angles and weights.

        Args:
            memory: What ``forward`` returned.
            upstream: The loss's gradient with respect to the expectation values, shape (heads, B, n_qubits).
            need_angles: Whether the first result is wanted.
            need_weights: Whether the second result is wanted.

        Returns:
            Arrays of shape (heads, B, n_qubits) and (heads, n_weights); None where not wanted.
        """
        n_heads, n_samples, n_qubits = upstream.shape
        columns = upstream.transpose(2, 1, 0).reshape(n_qubits, -1)
        adjoints = np.empty_like(memory.states)
        np.matmul(self.matrices[-1].T, 2 * memory.outputs * (self.z_signs.T @ columns), out=adjoints[-1])
        for layer in reversed(range(len(self.matrices) - 1)):
            cos, sin = memory.rotations[:, layer]
            after = adjoints[layer + 1].reshape(2, -1, n_samples, n_heads)
            before = after * cos
            turned = after * sin
            before[0] += turned[1]
            before[1] -= turned[0]
            np.matmul(self.matrices[layer].T, before.reshape(-1, columns.shape[1]), out=adjoints[layer])
        # d/dφ of (cos φ, sin φ) is (-sin φ, cos φ).
        half = memory.states.shape[1] // 2
        phases = memory.states[:, :half] * adjoints[:, half:]
        phases -= memory.states[:, half:] * adjoints[:, :half]
        angle_gradient = weight_gradient = None
        if need_angles:
            angle_gradient = (self.input_signs.T @ phases[0]).reshape(n_qubits, n_samples, n_heads).transpose(2, 1, 0)
        if need_weights:
            by_layer = phases[1:].reshape(-1, n_samples, n_heads).sum(axis=1)
            signs = self.weight_signs.reshape(len(by_layer), self.weight_signs.shape[-1])
            weight_gradient = (signs.T @ by_layer).T
        return angle_gradient, weight_gradient


@lru_cache(maxsize=16)
def dense_circuit(circuit: Circuit, dtype: str = "float32") -> DenseCircuit:
    """The dense form of a circuit, its matrices of ``dtype``, float32 or float64.

    Raises:
        ValueError: If the circuit has gates that the reader of its tape refuses.
    """
    n_qubits, dim = circuit.n_qubits, 2**circuit.n_qubits
    gates = variational_gates(circuit)
    real = is_real(circuit)
    kept = slice(0, dim // 2) if real else slice(None)
    eigenvalues = z_signs(n_qubits).T[kept]
    embedding = phase_basis(circuit, range(n_qubits), "float64")

    groups = rotation_groups(gates)
    weight_signs = np.zeros((len(groups), len(eigenvalues), circuit.n_weights))
    matrices: list[np.ndarray] = []
    known: dict[tuple, np.ndarray] = {}
    decode, start, letters = embedding.decoder, 0, ["embedding"]
    for layer, group in enumerate(groups):
        before, letters = letters, ["RY" if real else "RZ"] * n_qubits
        for gate in group.rotations:
            letters[gate.wires[0]] = gate.name
            # exp(-iθP/2) acting on an eigenstate of P.
            weight_signs[layer, :, gate.weight] = -eigenvalues[:, gate.wires[0]] / 2
        fixed = gates[start : group.start]
        key = (fixed, *before, *letters)
        if key not in known:
            amplitudes = _in_eigenbasis(letters, _apply_gates(fixed, decode))[kept]
            known[key] = (_real_rows(amplitudes) * (np.sqrt(2) if real else 1)).astype(dtype)
        matrices.append(known[key])
        from_eigenbasis = _in_eigenbasis(letters, np.eye(dim, dtype=complex)).conj().T
        if real:
            decode = real_decoder(from_eigenbasis[:, kept], norm=np.sqrt(2))
        else:
            decode = np.concatenate([from_eigenbasis, 1j * from_eigenbasis], axis=1)
        start = group.stop
    amplitudes = _apply_gates(gates[start:], decode)
    matrices.append((amplitudes.real if real else _real_rows(amplitudes)).astype(dtype))
    squares = z_signs(n_qubits) if real else np.tile(z_signs(n_qubits), 2)
    return DenseCircuit(
        embedding.signs.astype(dtype), weight_signs.astype(dtype), tuple(matrices), squares.astype(dtype)
    )


def required_bytes(n_qubits: int) -> int:
    """A rough estimate of ``dense_circuit``'s memory: half a dozen complex matrices of 4ⁿ entries."""
    return 6 * 16 * 4**n_qubits


def _real_rows(amplitudes: np.ndarray) -> np.ndarray:
    return np.concatenate([amplitudes.real, amplitudes.imag])


def _apply_gates(gates: tuple[Gate, ...], columns: np.ndarray) -> np.ndarray:
    for gate in gates:
        operation = getattr(qml, gate.name)
        matrix = qml.matrix(operation(*(() if gate.angle is None else (gate.angle,)), wires=gate.wires))
        columns = _apply_matrix(matrix, gate.wires, columns)
    return columns


def _in_eigenbasis(letters: list[str], columns: np.ndarray) -> np.ndarray:
    for wire, letter in enumerate(letters):
        columns = _apply_matrix(_TO_EIGENBASIS[letter], (wire,), columns)
    return columns


def _apply_matrix(matrix: np.ndarray, wires: tuple[int, ...], columns: np.ndarray) -> np.ndarray:
    """A gate on some wires of states of shape (2ⁿ, columns)."""
    n_qubits = len(columns).bit_length() - 1
    tensor = np.moveaxis(columns.reshape([2] * n_qubits + [-1]), wires, range(len(wires)))
    shape = tensor.shape
    tensor = (matrix @ tensor.reshape(len(matrix), -1)).reshape(shape)
    return np.moveaxis(tensor, range(len(wires)), wires).reshape(columns.shape)
