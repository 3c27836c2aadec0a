"""Networks of the paper other than the dressed head, each many times side by side: one for each seed.

Parameters have a leading axis of networks, as those of :class:`pipeline.heads.dressed.DressedQuantumNets` have; the
networks share no gradient, so that each trains as it would alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from pipeline.quantum.circuit import Circuit, z_signs
from pipeline.quantum.dense import dense_circuit


class Networks(nn.Module):
    """What all of them have in common: training on each network's own mean cross-entropy."""

    def __len__(self) -> int:
        return len(next(self.parameters()))

    def backward_cross_entropy(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Set the gradients of a step, as ``DressedQuantumNets.backward_cross_entropy`` does.

        Args:
            features: What ``forward`` takes, (networks, B, …).
            labels: Class indices, int64 of shape (networks, B).

        Returns:
            Each network's loss (networks,) and the logits (networks, B, n_classes), both detached.
        """
        self.zero_grad()
        logits = self(features)
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = losses.view_as(labels).mean(dim=1)
        losses.sum().backward()
        return losses.detach(), logits.detach()


class ClassicalControls(Networks):
    """The paper's control of the dressed circuit: Linear → tanh → Linear → tanh → Linear, as wide as the circuit.

    Source: the notebook "dressed circuit" of XanaduAI/quantum-transfer-learning, in which a layer takes the circuit's
    place.

    Args:
        seeds: One network each.
        width: Units of both hidden layers.
        spread: Standard deviation of all initial parameters; if None, they are those of ``nn.Linear``.
    """

    def __init__(self, seeds: Sequence[int], width: int = 5, spread: float | None = None) -> None:
        super().__init__()
        shapes = [(width, 3), (width, width + 1), (2, width + 1)]
        draws = [initial(seed, shapes, spread) for seed in seeds]
        self.first, self.second, self.third = (nn.Parameter(torch.stack(layer)) for layer in zip(*draws, strict=True))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (networks, B, 2) from features (networks, B, 2)."""
        hidden = torch.tanh(_affine(self.first, features))
        return _affine(self.third, torch.tanh(_affine(self.second, hidden)))


class StateClassifiers(Networks):
    """Circuits that classify quantum states: a frozen part, trained layers, ⟨Z⟩ of every wire, Linear.

    The states go from the frozen part into the trained layers as they are, with no measurement between.

    Args:
        seeds: One network each.
        circuit: The trained layers, of real gates.
        n_classes: Number of classes.
        q_delta: Standard deviation of the initial angles, in radians.
        frozen: What the states pass first, orthogonal matrices of shape (networks, 2ⁿ, 2ⁿ); nothing if None.
    """

    frozen: torch.Tensor | None
    z_signs: torch.Tensor

    def __init__(
        self,
        seeds: Sequence[int],
        circuit: Circuit,
        n_classes: int,
        q_delta: float = 0.1,
        frozen: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.circuit = circuit
        shapes = [(circuit.n_weights,), (n_classes, circuit.n_qubits + 1)]
        draws = [initial(seed, shapes, 1.0) for seed in seeds]
        self.q_params = nn.Parameter(q_delta * torch.stack([angles for angles, _ in draws]))
        self.readout = nn.Parameter(torch.stack([matrix for _, matrix in draws]) / math.sqrt(circuit.n_qubits))
        self.register_buffer("frozen", frozen)
        self.register_buffer("z_signs", torch.from_numpy(z_signs(circuit.n_qubits)).float())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (networks, B, n_classes) from real amplitudes (networks, B, 2ⁿ)."""
        if self.frozen is not None:
            states = states @ self.frozen.mT
        outputs = states @ unitaries(self.circuit, self.q_params).mT
        return _affine(self.readout, (outputs * outputs) @ self.z_signs.T)


def unitaries(circuit: Circuit, weights: torch.Tensor) -> torch.Tensor:
    """The circuit behind its embedding as orthogonal matrices, differentiable by the weights.

    Args:
        circuit: A circuit of real gates.
        weights: Shape (networks, n_weights), in radians.

    Returns:
        Shape (networks, 2ⁿ, 2ⁿ), float32: column s is what becomes of basis state s.
    """
    angles = _basis_angles(circuit.n_qubits).expand(len(weights), -1, -1)
    return dense_circuit(circuit, "float32").amplitudes(angles, weights).mT


def initial(seed: int, shapes: Sequence[tuple[int, ...]], spread: float | None) -> list[torch.Tensor]:
    """Initial parameters of one network: ``spread · randn``; if None, as ``nn.Linear`` draws weights and bias."""
    generator = torch.Generator().manual_seed(seed)
    if spread is None:
        draws = [2 * torch.rand(shape, generator=generator) - 1 for shape in shapes]
        return [draw / math.sqrt(draw.shape[-1] - 1) for draw in draws]
    return [spread * torch.randn(shape, generator=generator) for shape in shapes]


@lru_cache(maxsize=4)
def _basis_angles(n_qubits: int) -> torch.Tensor:
    """Embedding angles that prepare each basis state: RY(π/2) H |0⟩ = |1⟩ and RY(-π/2) H |0⟩ = |0⟩."""
    return torch.from_numpy(-z_signs(n_qubits).T * np.pi / 2).float()


def _affine(matrix: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Weights and bias, the bias as last column: (networks, B, n) → (networks, B, m) by (networks, m, n + 1)."""
    return torch.baddbmm(matrix[:, None, :, -1], inputs, matrix[:, :, :-1].mT)
