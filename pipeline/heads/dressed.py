"""The dressed quantum network: a circuit between two linear layers.

In: features of shape (B, n_features), float32 or float64. Out: logits of shape (B, n_classes), in the features' dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pennylane as qml
import torch
from torch import nn

from features.util.flags import FlagError
from features.util.memory import physical_memory
from pipeline.heads.base import EXPECTATION, OUTPUTS, QUARTER_TURN, TANH, Head, check_features
from pipeline.heads.bound import BoundCircuit, bind
from pipeline.heads.fixed import fixed_head
from pipeline.heads.fused import cross_entropy_gradients, dressed_logits
from pipeline.heads.idle import idle_weights
from pipeline.quantum.autograd import non_finite, transforms_active
from pipeline.quantum.choices import C_DTYPES, SIMULATORS
from pipeline.quantum.circuit import Circuit
from pipeline.quantum.circuits import embeds_amplitudes
from pipeline.quantum.compiled import CompiledCircuit, compile_circuit
from pipeline.quantum.lightning import bindings_problem

PRE_NETS, POST_NETS = ("auto", "linear", "none"), ("linear", "none")


class DressedQuantumNet(Head):
    """A quantum circuit between two classical ends: Linear → tanh → · π/2 → circuit → Linear by default.

    Source: Mari et al., arXiv:1912.08278, equation 11; the PennyLane demo "Quantum transfer learning". Names, shapes
    and the order of initialisation are the demo's, so that a ``state_dict`` trained with its code loads here.

    Args:
        n_features: Width of the input.
        n_classes: Number of classes.
        n_qubits: Wires of the circuit, and inputs of a circuit of your own behind a linear layer.
        depth: Variational layers of a circuit by name.
        q_delta: Standard deviation of the initial quantum weights, in radians.
        simulator: ``lightning`` runs a batch as one circuit on lightning.qubit. ``dense`` runs in torch's own
            operations; ``lightning`` does so too for second derivatives, under ``torch.func`` and on a GPU. ``qnode``
            runs the circuit as an ordinary QNode on ``device``.
        device: PennyLane device of the ``qnode`` simulator.
        entangler: Of the paper's circuit: ``chain`` (the paper's), ``ring`` or ``none``.
        c_dtype: Precision of the ``lightning`` simulator's states, ``complex128`` or ``complex64``.
        circuit: A quantum function of ``inputs`` and weights by name, or a QNode of one; a name of
            ``pipeline.quantum.circuits.CIRCUITS``; or ``my_circuit.py:name``. The paper's circuit if None.
        weight_shapes: Shape of each weight of a quantum function or QNode.
        pre_net: What makes the circuit's inputs: ``linear``, followed by tanh and · π/2; ``none`` gives it the features
            themselves, as angles or amplitudes; or a module whose outputs are the inputs. ``auto`` is ``none`` for
            circuits by name that embed amplitudes, else ``linear``.
        post_net: What makes logits of the circuit's outputs: ``linear``; ``none``, where they are the logits; a module.

    Attributes:
        pre_net: Linear(n_features, n_qubits), or what replaces it.
        q_params: All quantum weights in one vector, (depth · n_qubits,) of the paper's circuit, in radians.
        post_net: Linear(n_outputs, n_classes), or what replaces it.
        circuit: The circuit as a quantum function of inputs and ``q_params``.
        without_circuit: Whether it is in a phase of training in which ``steps`` answers without the circuit.

    Raises:
        ValueError: If an argument is none of those allowed, or the circuit does not fit into memory.
    """

    without_circuit = False
    circuit: Any  # Circuit | BoundCircuit
    pre_net: Any
    post_net: Any

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
        circuit: Callable[..., Any] | str | None = None,
        weight_shapes: Mapping[str, int | Sequence[int]] | None = None,
        pre_net: nn.Module | str = "auto",
        post_net: nn.Module | str = "linear",
    ) -> None:
        super().__init__()
        self.n_features = n_features
        for name, value, allowed in (
            ("simulator", simulator, SIMULATORS),
            ("c_dtype", c_dtype, C_DTYPES),
            ("pre_net", pre_net if isinstance(pre_net, str) else "linear", PRE_NETS),
            ("post_net", post_net if isinstance(post_net, str) else "linear", POST_NETS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")
        self._simulator, self.device_name, self.c_dtype = simulator, device, c_dtype
        if simulator == "lightning" and not _lightning_works():
            self._simulator, self.device_name = "qnode", "lightning.qubit"
        if isinstance(pre_net, str) and pre_net == "auto":
            pre_net = "none" if isinstance(circuit, str) and embeds_amplitudes(circuit) else "linear"
        n_inputs = None if pre_net == "linear" else _width(pre_net, n_features)
        if circuit is None or (circuit == "mari" and n_inputs is None):
            self.circuit = Circuit(n_qubits=n_qubits, depth=depth, entangler=entangler)
        else:
            self.circuit = bind(circuit, weight_shapes, n_qubits, depth, n_inputs)
        check_memory(self.circuit.n_qubits, self._simulator, c_dtype)
        self.compiled = compiled_circuit(self.circuit, self._simulator, self.device_name, c_dtype)
        self._makes_angles = isinstance(pre_net, str) and pre_net == "linear"
        self.pre_net = nn.Linear(n_features, self.circuit.n_inputs) if pre_net == "linear" else _module(pre_net)
        self.q_params = nn.Parameter(q_delta * torch.randn(self.circuit.n_weights))
        # Of the paper's circuit known without a trace.
        n_outputs = n_qubits if type(self.circuit) is Circuit else self.compiled.n_outputs
        if isinstance(self.circuit, BoundCircuit) and self.compiled.program and not self.compiled.program.uses_inputs:
            raise ValueError(
                f"the circuit {self.circuit.name} doesn't use its inputs, so every sample would get the same answer; "
                "embed them, for example by qml.AngleEmbedding(inputs, wires=...)"
            )
        if post_net == "none" and n_outputs != n_classes:
            raise ValueError(
                f"post_net is 'none' and the circuit has {n_outputs} outputs; without a layer behind it, it must have "
                f"as many as there are classes: {n_classes}"
            )
        self.post_net = nn.Linear(n_outputs, n_classes) if post_net == "linear" else _module(post_net)

    @property
    def simulator(self) -> str:
        """What simulates the circuit: ``lightning``, ``dense`` or ``qnode``."""
        if not self.compiled.is_ready and type(self.circuit) is Circuit:
            # Known without the comparison with a QNode, which many qubits make long.
            return self._simulator
        return self.compiled.simulator

    @property
    def n_wires(self) -> int:
        """Wires of the circuit."""
        return self.circuit.n_qubits if isinstance(self.circuit, Circuit) else self.compiled.n_wires

    @property
    def description(self) -> str:
        """Qubits, depth, simulator, and how the circuit differs from the paper's."""
        if isinstance(self.circuit, Circuit):
            entangler = {"chain": "", "none": "no entangler, "}.get(
                self.circuit.entangler, f"{self.circuit.entangler}, "
            )
            words = f"{self.circuit.n_qubits} qubits, depth {self.circuit.depth}, {entangler}"
        else:
            words = f"circuit {self.circuit.name} of {self.circuit.n_qubits} qubits, {self.circuit.n_weights} weights, "
            ends = [f"{name} {type(end).__name__}" for name, end in self._ends if type(end) is not nn.Linear]
            words += "".join(f"{end}, " for end in ends).replace("Identity", "none")
        frozen = "" if self.trains_circuit else "frozen, "
        return f"{words}{frozen}simulator {self.simulator}"

    @property
    def trains_circuit(self) -> bool:
        """Whether training changes the quantum weights."""
        return self.q_params.requires_grad

    @property
    def n_idle(self) -> int | None:
        """The number of trained quantum weights that never have a gradient; None where it is not known."""
        if not self.trains_circuit or not len(self.q_params):
            return 0
        if self.compiled.program is None or self.compiled.fallback_reason is not None:
            return None
        found = idle_weights(compiled_circuit(self.circuit, "dense", self.device_name, "complex128"))
        return None if found is None else len(found)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes) from features of shape (B, n_features).

        Raises:
            ValueError: If the features are of another width or dtype, or not finite.
        """
        if features.dtype != self._dtype and torch.is_autocast_enabled(features.device.type):
            features = features.to(self._dtype)
        if self._fusable(features):
            return dressed_logits(self.compiled, features, self.parameters_in_order)
        return self.post_net(self.expectation_values(self.angles(features)))

    def angles(self, features: torch.Tensor) -> torch.Tensor:
        """The circuit's inputs (B, n_inputs): behind a linear layer tanh(pre_net(x)) · π/2, in radians.

        Raises:
            ValueError: If the features are of another width or dtype, or not finite.
        """
        check_features(features, self.n_features, self.q_params.dtype)
        angles = self.circuit_inputs(self.pre_net(features))
        if transforms_active():
            # Under torch.func no value can be looked at.
            return angles
        # NaN shows in the angles, but tanh hides an infinity.
        if not angles.isfinite().all() or not features.isfinite().all():
            raise non_finite(features)
        return angles

    def backward_cross_entropy(
        self, features: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`Head`, with less bookkeeping where the head runs as one node."""
        if self._fusable(features):
            return cross_entropy_gradients(self.compiled, features, labels, self.parameters_in_order, shares)
        return super().backward_cross_entropy(features, labels, shares)

    def hidden_values(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tanh of the first layer, where there is one, and the circuit's outputs."""
        angles = self.angles(features)
        tanh = {TANH: angles / QUARTER_TURN} if self._makes_angles else {}
        return tanh | {EXPECTATION if self._measures_z() else OUTPUTS: self.expectation_values(angles)}

    def for_export(self) -> nn.Module:
        """The head in plain matrix products, with its weights fixed."""
        return fixed_head(self.compiled, self.q_params, self.pre_net, self.circuit_inputs, self.post_net)

    def _measures_z(self) -> bool:
        """Whether the circuit's outputs are ⟨Z⟩ of each wire in order."""
        inputs = torch.ones(self.circuit.n_inputs, dtype=self.q_params.dtype)
        found = qml.tape.make_qscript(self.circuit)(inputs, self.q_params.detach()).measurements
        of_wires = [qml.expval(qml.Z(wire)) for wire in range(self.n_wires)]
        return len(found) == len(of_wires) and all(map(qml.equal, found, of_wires))

    def expectation_values(self, angles: torch.Tensor) -> torch.Tensor:
        """The circuit's outputs (B, n_outputs), ⟨Z⟩ of every wire of the paper's, from its inputs (B, n_inputs)."""
        return self.compiled(angles, self.compiled.split(self.q_params))

    @property
    def parameters_in_order(self) -> list[torch.Tensor]:
        """The parameters as :mod:`pipeline.heads.fused` takes them."""
        # From the registers themselves: modules look attributes up in Python, half a microsecond each.
        ends: Any = self._modules
        own: Any = self._parameters
        pre_net, post_net = ends["pre_net"]._parameters, ends["post_net"]._parameters
        return [pre_net["weight"], pre_net["bias"], own["q_params"], post_net["weight"], post_net["bias"]]

    @property
    def is_plain(self) -> bool:
        """Whether both ends are linear layers and no more, so that the head can run as one node."""
        ends: Any = self._modules
        return self._makes_angles and _is_plain(ends["pre_net"]) and _is_plain(ends["post_net"])

    @property
    def _dtype(self) -> torch.dtype:
        return self._parameters["q_params"].dtype  # type: ignore[union-attr]

    @property
    def _ends(self) -> tuple[tuple[str, nn.Module], ...]:
        return ("pre_net", self.pre_net), ("post_net", self.post_net)

    def circuit_inputs(self, hidden: torch.Tensor) -> torch.Tensor:
        """The circuit's inputs, from the output of ``pre_net``."""
        return torch.tanh(hidden) * QUARTER_TURN if self._makes_angles else hidden

    def _fusable(self, features: torch.Tensor) -> bool:
        """Whether the head may run as one node on these features; otherwise its layers must be called."""
        check_features(features, self.n_features, self._dtype)
        return (
            features.is_cpu
            and features.dtype in (torch.float32, torch.float64)
            and len(features) > 0
            and self.is_plain
            and self.simulator == "lightning"
            and not transforms_active()
        )


@lru_cache(maxsize=64)
def compiled_circuit(circuit: Circuit | BoundCircuit, simulator: str, device: str, c_dtype: str) -> CompiledCircuit:
    """The circuit traced and checked once a process, of inputs and one flat weight; a QNode runs on its own device."""
    if isinstance(circuit, BoundCircuit) and circuit.qnode is not None:
        return compile_circuit(
            circuit.qnode, circuit.weight_shapes, circuit.n_inputs, simulator=simulator, c_dtype=c_dtype
        )
    shapes = {"weights": (circuit.n_weights,)}
    return compile_circuit(circuit, shapes, circuit.n_inputs, simulator=simulator, device=device, c_dtype=c_dtype)


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
    # A dozen states, roughly.
    required = 12 * (16 if simulator == "dense" or c_dtype == "complex128" else 8) * 2**n_qubits
    available = physical_memory()
    if required > available:
        raise FlagError(
            f"n_qubits is {n_qubits}: simulator={simulator!r} would take about {required / 2**30:,.0f} GiB, and this "
            f"machine has {available / 2**30:,.0f} GiB; take fewer qubits"
        )


def _is_plain(layer: nn.Module) -> bool:
    """Whether calling the layer does no more than its matrix product: no hooks, no other class in its place."""
    return (
        type(layer) is nn.Linear
        and layer._parameters["bias"] is not None
        and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)
    )


def _module(end: nn.Module | str) -> nn.Module:
    return nn.Identity() if isinstance(end, str) else end


def _width(end: nn.Module | str, n_features: int) -> int:
    """The number of inputs that this end gives the circuit."""
    if isinstance(end, str):
        return n_features
    parameter = next(end.parameters(), torch.zeros(()))
    with torch.no_grad():
        return end(torch.zeros(1, n_features, dtype=parameter.dtype)).shape[-1]
