"""Networks of the paper other than the dressed head, as heads: :mod:`pipeline.heads.stacked` trains one for each seed.

In: points in the plane, or quantum states. Out: logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from pipeline.heads.base import QUARTER_TURN, Head
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.compiled import CompiledCircuit, compile_circuit
from pipeline.quantum.matrices import z_signs


class ClassicalControl(Head):
    """The paper's control of the dressed circuit: Linear → tanh → Linear → tanh → Linear, as wide as the circuit.

    Source: the notebook "dressed circuit" of XanaduAI/quantum-transfer-learning, in which a layer takes the circuit's
    place.

    Args:
        seed: Of the initial parameters.
        width: Units of both hidden layers.
        spread: Standard deviation of all initial parameters; if None, they are those of ``nn.Linear``.
    """

    takes_heads_axis = True

    def __init__(self, seed: int, width: int = 5, spread: float | None = None) -> None:
        super().__init__()
        self.n_features = 2
        shapes = [(width, 3), (width, width + 1), (2, width + 1)]
        self.first, self.second, self.third = map(nn.Parameter, initial(seed, shapes, spread))

    @property
    def description(self) -> str:
        """The widths."""
        width = len(self.second)
        return f"2 → {width} → tanh → {width} → tanh → 2"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits (B, 2) of points (B, 2)."""
        hidden = torch.tanh(_affine(self.first, features))
        return (_affine(self.third, torch.tanh(_affine(self.second, hidden))),)


class StateClassifier(Head):
    """A circuit that classifies quantum states: a frozen part, trained layers, ⟨Z⟩ of every wire, Linear.

    The states go from the frozen part into the trained layers as they are, with no measurement between.

    Args:
        seed: Of the initial parameters.
        circuit: The trained layers, of real gates.
        n_classes: Number of classes.
        q_delta: Standard deviation of the initial angles, in radians.
        frozen: What the states pass first, an orthogonal matrix of shape (2ⁿ, 2ⁿ); nothing if None.
    """

    frozen: torch.Tensor | None
    z_signs: torch.Tensor
    takes_heads_axis = True

    def __init__(
        self, seed: int, circuit: Circuit, n_classes: int, q_delta: float = 0.1, frozen: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.n_features = 2**circuit.n_qubits
        self.circuit = circuit
        angles, matrix = initial(seed, [(circuit.n_weights,), (n_classes, circuit.n_qubits + 1)], 1.0)
        self.q_params = nn.Parameter(q_delta * angles)
        self.readout = nn.Parameter(matrix / math.sqrt(circuit.n_qubits))
        self.register_buffer("frozen", frozen)
        self.register_buffer("z_signs", torch.from_numpy(z_signs(circuit.n_qubits)).float())

    @property
    def description(self) -> str:
        """Qubits and depth."""
        return f"{self.circuit.n_qubits} qubits, depth {self.circuit.depth}"

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits (B, n_classes) of states with real amplitudes (B, 2ⁿ)."""
        states = features if self.frozen is None else features @ self.frozen.mT
        outputs = states @ unitaries(self.circuit, self.q_params).mT
        return (_affine(self.readout, (outputs * outputs) @ self.z_signs.mT),)


def unitaries(circuit: Circuit, weights: torch.Tensor) -> torch.Tensor:
    """The circuit behind its embedding as orthogonal matrices, differentiable by the weights.

    Args:
        circuit: A circuit of real gates.
        weights: Shape (…, n_weights), in radians.

    Returns:
        Shape (…, 2ⁿ, 2ⁿ), float32: column s is what becomes of basis state s.
    """
    many = weights.reshape(-1, circuit.n_weights)
    angles = _basis_angles(circuit.n_qubits).expand(len(many), -1, -1)
    states = _compiled(circuit).states(angles, many)
    return states.reshape(*weights.shape[:-1], *states.shape[1:])


def initial(seed: int, shapes: Sequence[tuple[int, ...]], spread: float | None) -> list[torch.Tensor]:
    """Initial parameters of one network: ``spread · randn``; if None, as ``nn.Linear`` draws weights and bias."""
    generator = torch.Generator().manual_seed(seed)
    if spread is None:
        draws = [2 * torch.rand(shape, generator=generator) - 1 for shape in shapes]
        return [draw / math.sqrt(draw.shape[-1] - 1) for draw in draws]
    return [spread * torch.randn(shape, generator=generator) for shape in shapes]


@lru_cache(maxsize=16)
def _compiled(circuit: Circuit) -> CompiledCircuit:
    return compile_circuit(circuit, {"weights": (circuit.n_weights,)}, circuit.n_qubits)


@lru_cache(maxsize=4)
def _basis_angles(n_qubits: int) -> torch.Tensor:
    """Embedding angles that prepare each basis state: RY(π/2) H |0⟩ = |1⟩ and RY(-π/2) H |0⟩ = |0⟩."""
    return torch.from_numpy(-z_signs(n_qubits).T * QUARTER_TURN).float()


def _affine(matrix: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Weights and bias, the bias as last column: (…, B, n) → (…, B, m) by (…, m, n + 1)."""
    add = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    return add(matrix[..., None, :, -1], inputs, matrix[..., :-1].mT)
