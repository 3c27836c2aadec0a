"""The trainable head: features in, logits out; one, or many at once.

In: features of shape (B, n_features), float32 or float64. Out: logits of shape (B, n_classes), in the features' dtype.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from pipeline.quantum import adjoint, dense
from pipeline.quantum.autograd import (
    NonFiniteError,
    cross_entropy_gradients,
    dressed_logits,
    expectation_values,
    non_finite,
)
from pipeline.quantum.choices import C_DTYPES, SIMULATORS
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.lightning import bindings_problem


class Head(nn.Module):
    """What training, the run folder and the reunion with the backbone ask of a head."""

    @property
    def description(self) -> str:
        """The head's make-up, in a few words."""
        raise NotImplementedError

    @property
    def n_trainable(self) -> int:
        """The number of parameters that training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def backward_cross_entropy(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What ``cross_entropy(head(features), labels).backward()`` does to the parameters.

        Gradients replace those of the step before, so that no ``zero_grad`` is needed.

        Args:
            features: Shape (B, n_features).
            labels: Class indices, int64 of shape (B,).

        Returns:
            The mean loss, of shape (), and the logits (B, n_classes), both detached.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite, or labels no classes.
        """
        self.zero_grad()
        logits = self(features)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        return loss.detach(), logits.detach()


class DressedQuantumNet(Head):
    """A quantum circuit between two linear layers: Linear → tanh → · π/2 → circuit → Linear.

    Source: Mari et al., arXiv:1912.08278, equation 11; the PennyLane demo "Quantum transfer learning". Names, shapes
    and the order of initialisation are the demo's, so that a ``state_dict`` trained with its code loads here.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_qubits: Wires of the circuit.
        depth: Variational layers of the circuit.
        q_delta: Standard deviation of the initial quantum weights, in radians.
        simulator: ``lightning`` runs a batch as one circuit on lightning.qubit, with first derivatives; ``dense`` runs
            in torch's own operations, with derivatives of any order, for few qubits; ``qnode`` runs the circuit as an
            ordinary QNode on ``device``.
        device: PennyLane device of the ``qnode`` simulator.
        entangler: ``chain`` (the paper's), ``ring`` or ``none``.
        c_dtype: Precision of the ``lightning`` simulator's states, ``complex128`` or ``complex64``.

    Attributes:
        pre_net: Linear(n_features, n_qubits).
        q_params: Quantum weights of shape (depth · n_qubits,), in radians.
        post_net: Linear(n_qubits, n_classes).

    Raises:
        ValueError: If an argument is none of those allowed, or the circuit does not fit into memory.
    """

    def __init__(
        self,
        n_features: int = 512,
        n_classes: int = 2,
        n_qubits: int = 4,
        depth: int = 6,
        q_delta: float = 0.01,
        simulator: str = "lightning",
        *,
        device: str = "default.qubit",
        entangler: str = "chain",
        c_dtype: str = "complex128",
    ) -> None:
        super().__init__()
        if simulator not in SIMULATORS:
            raise ValueError(f"simulator is {simulator!r}; choose one of {', '.join(SIMULATORS)}")
        if c_dtype not in C_DTYPES:
            raise ValueError(f"c_dtype is {c_dtype!r}; choose one of {', '.join(C_DTYPES)}")
        self.circuit = Circuit(n_qubits=n_qubits, depth=depth, entangler=entangler)
        self.simulator = simulator
        self.device_name = device
        self.c_dtype = c_dtype
        if simulator == "lightning" and not _lightning_works():
            self.simulator, self.device_name = "qnode", "lightning.qubit"
        _check_memory(n_qubits, self.simulator, c_dtype)
        self.pre_net = nn.Linear(n_features, n_qubits)
        self.q_params = nn.Parameter(q_delta * torch.randn(self.circuit.n_weights))
        self.post_net = nn.Linear(n_qubits, n_classes)
        self._qnodes: dict[bool, Any] = {}

    @property
    def description(self) -> str:
        """Qubits, depth, simulator, and how the circuit differs from the paper's."""
        entangler = {"chain": "", "none": "no entangler, "}.get(self.circuit.entangler, f"{self.circuit.entangler}, ")
        frozen = "" if self.q_params.requires_grad else "frozen, "
        return (
            f"{self.circuit.n_qubits} qubits, depth {self.circuit.depth}, {entangler}{frozen}simulator {self.simulator}"
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features).

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite.
        """
        parameters = self._parameters_of(features)
        if parameters is not None:
            return dressed_logits(adjoint.batched_adjoint(self.circuit, self.c_dtype), features, parameters)
        return self.post_net(self.expectation_values(self.angles(features)))

    def angles(self, features: torch.Tensor) -> torch.Tensor:
        """The embedding angles tanh(pre_net(x)) · π/2 of every wire, shape (B, n_qubits), in radians.

        Raises:
            ValueError: If the features are of another width or dtype, or not finite.
        """
        check_features(features, self.pre_net.weight, dimensions=(2,))
        angles = torch.tanh(self.pre_net(features)) * (math.pi / 2)
        # NaN shows in the angles, but tanh hides an infinity.
        if not angles.isfinite().all() or not features.isfinite().all():
            raise non_finite(features)
        return angles

    def backward_cross_entropy(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`Head`, with less bookkeeping where the head runs as one node."""
        parameters = self._parameters_of(features)
        if parameters is not None:
            simulator = adjoint.batched_adjoint(self.circuit, self.c_dtype)
            return cross_entropy_gradients(simulator, features, labels, parameters)
        return super().backward_cross_entropy(features, labels)

    def expectation_values(self, angles: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire, shape (B, n_qubits), from embedding angles of that shape, in radians."""
        if self.simulator == "lightning":
            return expectation_values(adjoint.batched_adjoint(self.circuit, self.c_dtype), angles, self.q_params)
        if self.simulator == "dense":
            circuit = dense.dense_circuit(self.circuit, str(angles.dtype).removeprefix("torch."))
            return circuit.expectation_values(angles[None], self.q_params[None])[0]
        differentiated = torch.is_grad_enabled() and (angles.requires_grad or self.q_params.requires_grad)
        if differentiated not in self._qnodes:
            diff_method = "adjoint" if self.device_name.startswith("lightning") else "best"
            # Otherwise PennyLane computes the Jacobian of a Lightning device along with values that need no gradient.
            self._qnodes[differentiated] = self.circuit.qnode(self.device_name, diff_method if differentiated else None)
        return torch.stack(list(self._qnodes[differentiated](angles, self.q_params)), dim=-1).to(angles.dtype)

    def _parameters_of(self, features: torch.Tensor) -> list[torch.Tensor] | None:
        """The parameters, if the head may run as one node on such features; None if its layers must be called."""
        pre_net, post_net = self.pre_net, self.post_net
        weight = pre_net.weight
        check_features(features, weight, dimensions=(2,))
        if self.simulator == "lightning" and features.is_cpu and _is_plain(pre_net) and _is_plain(post_net):
            return [weight, pre_net.bias, self.q_params, post_net.weight, post_net.bias]
        return None

    def __getstate__(self) -> dict[str, Any]:
        # PennyLane's devices can be neither pickled nor copied (pennylane#2204): a copy makes its own on first use.
        return super().__getstate__() | {"_qnodes": {}}


class DressedQuantumNets(nn.Module):
    """Many dressed heads of one shape side by side, trained in one go: each has its own parameters, and its own batch.

    Parameters are those of the heads, stacked along a leading heads axis, so that one optimiser over five tensors
    serves all of them; they share no gradient, so that each trains as it would alone.

    Args:
        heads: Heads alike in everything but their parameters, which are copied.

    Raises:
        ValueError: If there is no head, or they differ in shape.
    """

    def __init__(self, heads: Sequence[DressedQuantumNet]) -> None:
        super().__init__()
        shapes = {
            (head.circuit, head.pre_net.weight.shape, head.post_net.weight.shape, head.q_params.requires_grad)
            for head in heads
        }
        if len(shapes) != 1:
            raise ValueError(
                f"{len(heads)} heads of {len(shapes)} shapes; heads trained together must be at least one, "
                "and alike in features, classes, qubits, depth, entangler, and whether quantum weights are frozen"
            )
        _check_memory(heads[0].circuit.n_qubits, "dense", "complex128")
        self.circuit = heads[0].circuit
        names = ["pre_net.weight", "pre_net.bias", "q_params", "post_net.weight", "post_net.bias"]
        stacked = (torch.stack([head.get_parameter(name).detach() for head in heads]) for name in names)
        self.pre_weight, self.pre_bias, self.q_params, self.post_weight, self.post_bias = map(nn.Parameter, stacked)
        self.q_params.requires_grad_(heads[0].q_params.requires_grad)

    def __len__(self) -> int:
        return len(self.q_params)

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of shape (heads, B, n_classes).

        Args:
            features: Shape (heads, B, n_features), or (N, n_features) of the samples that all heads share.
            rows: Which of the shared samples make up each head's batch, int64 of shape (heads, B); all if None.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite.
        """
        batches, circuit = self._prepared(features, rows)
        if batches.is_cpu:
            try:
                return dressed_logits(circuit, batches, self._parameters_in_order)
            except NonFiniteError:
                # Of shared features the row is named, not a place in some head's batch.
                raise non_finite(features) from None
        activations = torch.baddbmm(self.pre_bias[:, None], batches, self.pre_weight.mT)
        values = circuit.expectation_values(torch.tanh(activations) * (math.pi / 2), self.q_params)
        return torch.baddbmm(self.post_bias[:, None], values, self.post_weight.mT)

    def backward_cross_entropy(
        self, features: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of each head's own mean cross-entropy, without autograd; on the CPU.

        Gradients replace those of the step before, so that no ``zero_grad`` is needed.

        Args:
            features: As for ``forward``.
            labels: Class indices, int64 of shape (heads, B).
            rows: As for ``forward``.

        Returns:
            Each head's loss, of shape (heads,), and the logits (heads, B, n_classes), both detached.

        Raises:
            ValueError: If the features are of another width or dtype, empty, or not finite, or labels no classes.
        """
        batches, circuit = self._prepared(features, rows)
        try:
            return cross_entropy_gradients(circuit, batches, labels, self._parameters_in_order)
        except NonFiniteError:
            raise non_finite(features) from None

    def head_state(self, index: int) -> dict[str, torch.Tensor]:
        """The ``state_dict`` of one of the heads, as ``DressedQuantumNet`` loads it: a copy."""
        return {
            "q_params": self.q_params[index].detach().clone(),
            "pre_net.weight": self.pre_weight[index].detach().clone(),
            "pre_net.bias": self.pre_bias[index].detach().clone(),
            "post_net.weight": self.post_weight[index].detach().clone(),
            "post_net.bias": self.post_bias[index].detach().clone(),
        }

    def _prepared(self, features: torch.Tensor, rows: torch.Tensor | None) -> tuple[torch.Tensor, dense.DenseCircuit]:
        """Each head's features, of shape (heads, B, n_features), and the circuit in their dtype."""
        n_heads, _, n_features = self.pre_weight.shape
        check_features(features, self.pre_weight, dimensions=(2, 3))
        if rows is not None:
            features = features.index_select(0, rows.reshape(-1)).view(n_heads, -1, n_features)
        elif features.ndim == 2:
            features = features.expand(n_heads, -1, -1)
        return features, dense.dense_circuit(self.circuit, str(features.dtype).removeprefix("torch."))

    @property
    def _parameters_in_order(self) -> list[torch.Tensor]:
        return [self.pre_weight, self.pre_bias, self.q_params, self.post_weight, self.post_bias]


@lru_cache(maxsize=1)
def _lightning_works() -> bool:
    problem = bindings_problem()
    if problem is not None:
        warnings.warn(
            f"Lightning's bindings are not as expected ({problem}); heads with simulator='lightning' run as ordinary "
            "QNodes, with the same results but slowly. pennylane-lightning 0.43 to 0.45 are known to work.",
            RuntimeWarning,
            stacklevel=4,
        )
    return problem is None


def physical_memory() -> float:
    """Bytes of memory that this machine has; infinitely many where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _check_memory(n_qubits: int, simulator: str, c_dtype: str) -> None:
    if simulator == "qnode":
        return
    required = adjoint.required_bytes(n_qubits, c_dtype) if simulator == "lightning" else dense.required_bytes(n_qubits)
    available = physical_memory()
    if required > available:
        raise ValueError(
            f"n_qubits is {n_qubits}: simulator={simulator!r} would take about {required / 2**30:,.0f} GiB, and this "
            f"machine has {available / 2**30:,.0f} GiB; take fewer qubits"
            + (", or simulator='lightning'" if simulator == "dense" else "")
        )


def _is_plain(layer: nn.Module) -> bool:
    """Whether calling the layer does no more than its matrix product: no hooks, no other class in its place."""
    return (
        type(layer) is nn.Linear
        and layer.bias is not None
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)
    )


def check_features(features: torch.Tensor, weight: torch.Tensor, dimensions: tuple[int, ...]) -> None:
    """Raise a ValueError unless features are such as a first layer of ``weight``, (…, out, in), takes."""
    n_features = weight.shape[-1]
    if features.ndim not in dimensions or features.shape[-1] != n_features or not features.numel():
        raise ValueError(
            f"features have shape {tuple(features.shape)}; this head takes (B, {n_features}) with B at least 1: "
            "give it features of the backbone it was built for"
        )
    if features.dtype != weight.dtype:
        raise ValueError(
            f"features are {features.dtype} and the head is {weight.dtype}; convert one: "
            f"features.to({weight.dtype}) or head.to({features.dtype})"
        )
