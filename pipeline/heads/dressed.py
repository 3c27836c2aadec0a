"""The dressed quantum network: a circuit between two linear layers.

In: features of shape (B, n_features), float32 or float64. Out: logits of shape (B, n_classes), in the features' dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from features.util.flags import FlagError
from pipeline.heads.base import EXPECTATION, QUARTER_TURN, TANH, Head, check_features
from pipeline.heads.fused import cross_entropy_gradients, dressed_logits
from pipeline.heads.stacked import StackedHeads
from pipeline.quantum.autograd import expectation_values, non_finite
from pipeline.quantum.choices import C_DTYPES, SIMULATORS
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.lightning import bindings_problem
from pipeline.quantum.mari import adjoint, dense
from pipeline.util.memory import physical_memory


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
        self.n_features = n_features
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
        check_memory(n_qubits, self.simulator, c_dtype)
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
        if self._fusable(features):
            simulator = adjoint.batched_adjoint(self.circuit, self.c_dtype)
            return dressed_logits(simulator, features, self.parameters_in_order)
        return self.post_net(self.expectation_values(self.angles(features)))

    def angles(self, features: torch.Tensor) -> torch.Tensor:
        """The embedding angles tanh(pre_net(x)) · π/2 of every wire, shape (B, n_qubits), in radians.

        Raises:
            ValueError: If the features are of another width or dtype, or not finite.
        """
        check_features(features, self.n_features, self.q_params.dtype)
        angles = torch.tanh(self.pre_net(features)) * QUARTER_TURN
        # NaN shows in the angles, but tanh hides an infinity.
        if not angles.isfinite().all() or not features.isfinite().all():
            raise non_finite(features)
        return angles

    def backward_cross_entropy(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`Head`, with less bookkeeping where the head runs as one node."""
        if self._fusable(features):
            simulator = adjoint.batched_adjoint(self.circuit, self.c_dtype)
            return cross_entropy_gradients(simulator, features, labels, self.parameters_in_order)
        return super().backward_cross_entropy(features, labels)

    def hidden_values(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tanh of the first layer and ⟨Z⟩ of every wire, (B, n_qubits) each."""
        angles = self.angles(features)
        return {TANH: angles / QUARTER_TURN, EXPECTATION: self.expectation_values(angles)}

    def as_dressed(self) -> DressedQuantumNet:
        """The head itself."""
        return self

    def for_export(self) -> nn.Module:
        """The head in plain matrix products, with its weights fixed."""
        from pipeline.heads.fixed import FixedHead

        return FixedHead(self)

    @classmethod
    def stack(cls, heads: Sequence[Head]) -> StackedHeads:
        """Heads side by side in dense matrix products, without autograd."""
        from pipeline.heads.stacked_dressed import StackedDressed

        return StackedDressed(heads)

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

    @property
    def parameters_in_order(self) -> list[torch.Tensor]:
        """The parameters as :mod:`pipeline.heads.fused` takes them."""
        pre_net, post_net = self.pre_net, self.post_net
        return [pre_net.weight, pre_net.bias, self.q_params, post_net.weight, post_net.bias]

    def _fusable(self, features: torch.Tensor) -> bool:
        """Whether the head may run as one node on these features; otherwise its layers must be called."""
        check_features(features, self.n_features, self.q_params.dtype)
        return (
            self.simulator == "lightning" and features.is_cpu and _is_plain(self.pre_net) and _is_plain(self.post_net)
        )

    def __getstate__(self) -> dict[str, Any]:
        # PennyLane's devices can be neither pickled nor copied (pennylane#2204): a copy makes its own on first use.
        return super().__getstate__() | {"_qnodes": {}}


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


def check_memory(n_qubits: int, simulator: str, c_dtype: str) -> None:
    """Raise a FlagError, which is a ValueError, if the circuit would take more memory than this machine has."""
    if simulator == "qnode":
        return
    required = adjoint.required_bytes(n_qubits, c_dtype) if simulator == "lightning" else dense.required_bytes(n_qubits)
    available = physical_memory()
    if required > available:
        raise FlagError(
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
