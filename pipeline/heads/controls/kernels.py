"""Support vector machines: with a Gaussian kernel of the features, and with the fidelity of a circuit's states.

In: features of shape (B, n_features). Out: logits of shape (B, n_classes). Both are scikit-learn's ``SVC``, fitted at
once, and evaluated here in torch's operations from their support vectors, which are part of their state.
"""

from __future__ import annotations

import torch
from torch import nn

from features.util.errors import InputError
from features.util.memory import free_memory, gigabytes
from pipeline.heads.base import QUARTER_TURN, Head, check_features, refuse_non_finite
from pipeline.heads.controls.machine import KernelMachine
from pipeline.heads.controls.pca import fit_components
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.fixed import FixedStates

GAMMAS = tuple(10.0**k for k in range(-3, 2))
"""Of the Gaussian kernel, over scikit-learn's ``scale``: 1 over features times variance."""
KERNELS_IN_MEMORY = 4
SHARE = 0.8
"""Of the free memory: what kernels of all pairs of training rows may take."""


class RbfSvmNet(Head):
    """Support vector machine with a Gaussian kernel exp(-γ |x - y|²) of the features: no circuit, no trained layer.

    Source: C. Cortes, V. Vapnik, "Support-vector networks" (1995), as scikit-learn's ``SVC`` fits it. C and γ are
    those of the highest accuracy in cross-validation on the training rows.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.

    Attributes:
        machine: The support vectors and their weights.
        gamma: γ, as :meth:`prepare` chose it; 0 before.
    """

    gamma: torch.Tensor

    def __init__(self, n_features: int = 512, n_classes: int = 2) -> None:
        super().__init__()
        self.n_features = n_features
        self.machine = KernelMachine(n_features, n_classes)
        self.register_buffer("gamma", torch.zeros((), dtype=torch.float64))

    @property
    def description(self) -> str:
        """The widths, and what was fitted."""
        fitted = f", C {self.machine.C:g}, gamma {self.gamma:.3g}" if self.gamma else ""
        return f"{self.n_features} → Gaussian kernel → {self.machine.description}{fitted}"

    @property
    def n_trainable(self) -> int:
        """The numbers that :meth:`prepare` fits; most of them come with the support vectors."""
        return self.machine.n_fitted

    def prepare(
        self, features: torch.Tensor, labels: torch.Tensor, seed: int, class_weights: torch.Tensor | None = None
    ) -> None:
        """Fit all rows, with C and γ chosen by 5-fold cross-validation on these very rows and no others.

        Raises:
            InputError: If the classes are fewer than 2, one has fewer than 2 rows, or kernels don't fit into memory.
        """
        check_features(features, self.n_features, self.machine.dtype)
        refuse_non_finite(features, features)
        refuse_large("rbf-svm", len(features))
        distances = squared_distances(features.double(), features.double())
        variance = features.double().var(correction=0).item()
        scale = 1 / (self.n_features * variance) if variance > 0 else 1.0
        kernels = {factor * scale: lambda gamma=factor * scale: torch.exp(-gamma * distances) for factor in GAMMAS}
        self.gamma.fill_(self.machine.fit("rbf-svm", kernels, features, labels, seed, class_weights))

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits."""
        distances = squared_distances(features.double(), self.machine.vectors.double())
        return (self.machine(torch.exp(-self.gamma * distances)),)


class FidelitySvmNet(Head):
    """Support vector machine on a circuit's states: the kernel is their fidelity |⟨φ(x)|φ(y)⟩|².

    The circuit's inputs are principal components, as in ``PcaNet``. What follows the embedding, being the same unitary
    for x and y, cancels. So of a circuit that embeds its inputs once, the kernel is that of its embedding; for one
    rotation a wire behind H, or on |0⟩, ⟨φ(x)|φ(y)⟩ = Π cos((xᵢ - yᵢ)/2). Of a circuit that embeds them again between
    its weights, it is the kernel of these weights as they start.

    Source: V. Havlíček et al., arXiv:1804.11326; M. Schuld, N. Killoran, arXiv:1803.07128. C is that of the highest
    accuracy in cross-validation on the training rows.

    Args:
        dressed: A head with this circuit behind a linear layer, whose circuit and layer are taken over.
        n_classes: Number of classes.

    Attributes:
        pre_net: The principal components, as of ``PcaNet``.
        q_params: The circuit's weights, as they start.
        machine: The support vectors, which are angles, and their weights.

    Raises:
        ValueError: If the circuit gives no pure states.
    """

    pre_net: nn.Linear

    def __init__(self, dressed: DressedQuantumNet, n_classes: int = 2) -> None:
        super().__init__()
        self.n_features = dressed.n_features
        self.circuit, self.compiled = dressed.circuit, dressed.compiled
        self.simulator, self.device_name = dressed.simulator, dressed.device_name
        if reason := self.compiled.why_no_states:
            raise ValueError(
                f"the head fidelity-svm needs the states of the circuit {self.compiled.name}, which {reason}"
            )
        self.pre_net, self.q_params = dressed.pre_net, dressed.q_params
        self.requires_grad_(False)
        self.machine = KernelMachine(self.pre_net.out_features, n_classes)

    @property
    def description(self) -> str:
        """What stands in front, the circuit, and what was fitted."""
        fitted = f", C {self.machine.C:g}" if self.machine.C else ""
        return (
            f"{self.pre_net.out_features} principal components → states of {self.compiled.name} → fidelities → "
            f"{self.machine.description}{fitted}"
        )

    @property
    def n_trainable(self) -> int:
        """The numbers that :meth:`prepare` fits; most of them come with the support vectors."""
        return self.machine.n_fitted

    def prepare(
        self, features: torch.Tensor, labels: torch.Tensor, seed: int, class_weights: torch.Tensor | None = None
    ) -> None:
        """Fit the components, then all rows, with C chosen by 5-fold cross-validation on these rows and no others.

        Raises:
            InputError: As of ``RbfSvmNet``.
        """
        check_features(features, self.n_features, self.machine.dtype)
        refuse_large("fidelity-svm", len(features))
        fit_components(self.pre_net, features)
        angles = self.angles(features)
        states = self.states(angles)
        self.machine.fit("fidelity-svm", {0.0: lambda: fidelities(states, states)}, angles, labels, seed, class_weights)

    def angles(self, features: torch.Tensor) -> torch.Tensor:
        """The circuit's inputs (B, n_inputs), in radians."""
        return torch.tanh(self.pre_net(features)) * QUARTER_TURN

    def states(self, angles: torch.Tensor) -> torch.Tensor:
        """The circuit's states (B, 2ⁿ), in double precision."""
        found = self.compiled.states(angles.double()[None], self.q_params.double()[None])[0]
        return found.mT.expand(len(angles), -1)

    def steps(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output of the components, and the logits."""
        hidden = self.pre_net(features)
        states = self.states(torch.tanh(hidden) * QUARTER_TURN)
        return hidden, self.machine(fidelities(states, self.states(self.machine.vectors)))

    def for_export(self) -> nn.Module:
        """The head in plain matrix products, with its support vectors' states fixed."""
        return _Exported(self)


class _Exported(nn.Module):
    """A fitted ``FidelitySvmNet`` in operations that ONNX has: states as rows of real and imaginary parts."""

    overlaps: torch.Tensor

    def __init__(self, head: FidelitySvmNet) -> None:
        super().__init__()
        self.pre_net, self.machine = head.pre_net, head.machine
        self.states = FixedStates(head.compiled, head.q_params).double()
        with torch.no_grad():
            real, imaginary = self.states(head.machine.vectors.double()).chunk(2, dim=1)
        columns = torch.cat([torch.cat([real, imaginary], 1), torch.cat([-imaginary, real], 1)])
        self.register_buffer("overlaps", columns.T.contiguous())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features)."""
        angles = torch.tanh(self.pre_net(features)) * QUARTER_TURN
        real, imaginary = (self.states(angles.double()) @ self.overlaps).chunk(2, dim=1)
        return self.machine(real * real + imaginary * imaginary)


def squared_distances(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """|x - y|² of rows (N, D) and others (M, D): (N, M)."""
    squares = (rows * rows).sum(dim=1)[:, None] + (others * others).sum(dim=1)
    return (squares - 2 * rows @ others.T).clamp(min=0)


def fidelities(states: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """|⟨φ|ψ⟩|² of states (N, 2ⁿ) and others (M, 2ⁿ): (N, M), real."""
    overlaps = states @ others.conj().T
    return overlaps.real**2 + overlaps.imag**2 if overlaps.is_complex() else overlaps * overlaps


def refuse_large(head: str, rows: int) -> None:
    """Raise an InputError where kernels of all pairs of rows would not fit into memory."""
    needed, allowed = KERNELS_IN_MEMORY * 8 * rows**2, SHARE * free_memory()
    if needed > allowed:
        raise InputError(
            f"--head {head} needs kernels of all pairs of {rows:,} training rows: {gigabytes(needed)} of memory, and "
            f"{gigabytes(allowed)} may be taken; train it on fewer rows"
        )
