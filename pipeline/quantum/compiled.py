"""Any PennyLane circuit as a function of a batch: values and gradients of all samples at once.

``compile_circuit`` takes a quantum function or a QNode and returns a ``CompiledCircuit``. In: inputs of shape
(B, n_inputs) and weights. Out: expectation values and probabilities of shape (B, n_outputs), in the inputs' dtype.

The circuit is traced once (``program.py``) and runs on one of three simulators: ``lightning`` (NumPy and Lightning's
kernels, first derivatives), ``dense`` (torch's own operations: any device, derivative and transform, also for
``lightning``) or ``qnode``, the ordinary QNode. A circuit that the first two cannot run, or that differs from its QNode
when both are first compared, runs as the QNode, with one warning; ``fallback_reason`` says why.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
import torch

from pipeline.quantum.autograd import apart, dense_values, evaluate, transforms_active
from pipeline.quantum.check import difference
from pipeline.quantum.choices import SIMULATORS
from pipeline.quantum.dense.dense import Dense, backward_through
from pipeline.quantum.engine.engine import Engine
from pipeline.quantum.engine.heads import HeadByHead, Heads
from pipeline.quantum.lightning import bindings_problem
from pipeline.quantum.portable import portable, restored
from pipeline.quantum.program.program import Program, make_program
from pipeline.quantum.program.tape import UnsupportedError
from pipeline.quantum.qnode import OrdinaryQNode
from pipeline.quantum.signature import check_signature, weight_shape


def compile_circuit(
    circuit: Callable[..., Any],
    weight_shapes: Mapping[str, int | Sequence[int]],
    n_inputs: int,
    *,
    simulator: str = "lightning",
    device: str | None = None,
    c_dtype: str = "complex128",
    rank: int | None = None,
) -> CompiledCircuit:
    """A quantum function or QNode as a batched, differentiable function.

    Args:
        circuit: Takes ``inputs`` and the weights by name, queues gates, returns measurements; or a QNode of such a
            function. It may be written for inputs of shape (n_inputs,) or (B, n_inputs): ``inputs[..., k]`` does both.
        weight_shapes: Shape of each weight; a number n stands for (n,), 1 and () for a scalar, as in PennyLane.
        n_inputs: Inputs a sample.
        simulator: ``lightning``, ``dense`` or ``qnode``.
        device: PennyLane device of the ordinary QNode; a QNode keeps its own.
        c_dtype: Precision of the ``lightning`` simulator's states, ``complex128`` or ``complex64``.
        rank: 2 if the circuit takes inputs of shape (B, n_inputs), 1 if it takes one sample; None to detect it.

    Raises:
        ValueError: If the simulator is none of those, or the circuit's arguments are not ``inputs`` and the weights.
    """
    return CompiledCircuit(circuit, weight_shapes, n_inputs, simulator, device, c_dtype, rank)


class CompiledCircuit:
    """See ``compile_circuit``. Copies share the compiled circuit; pickling needs an importable quantum function.

    Attributes:
        circuit: The quantum function or QNode.
        weight_shapes: Shape of each weight, as a tuple.
        n_inputs: Inputs a sample.
        n_weights: All weights together.
        is_ready: Whether it has been traced and compared with its QNode, which happens on first use.
    """

    def __init__(
        self,
        circuit: Callable[..., Any],
        weight_shapes: Mapping[str, int | Sequence[int]],
        n_inputs: int,
        simulator: str = "lightning",
        device: str | None = None,
        c_dtype: str = "complex128",
        rank: int | None = None,
    ) -> None:
        if simulator not in SIMULATORS:
            raise ValueError(f"simulator is {simulator!r}; choose one of {', '.join(SIMULATORS)}")
        self.circuit = circuit
        self.weight_shapes = {name: weight_shape(size) for name, size in weight_shapes.items()}
        self.n_inputs = n_inputs
        self.n_weights = sum(int(np.prod(shape)) for shape in self.weight_shapes.values())
        self.c_dtype = c_dtype
        self._wanted, self._device_name, self._wanted_rank = simulator, device, rank
        self._reset()
        check_signature(self.name, self.function, self.weight_shapes)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self.is_ready = False
        self._reason: str | None = None
        self._program: Program | None = None
        self._engine: Engine | None = None
        self._qnode: OrdinaryQNode | None = None
        self._rank = self._wanted_rank or 2
        self._labels: list[Any] = []
        self._n_outputs = 0

    @property
    def name(self) -> str:
        """The quantum function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def function(self) -> Callable[..., Any]:
        """The quantum function itself."""
        return self.circuit.func if isinstance(self.circuit, qml.QNode) else self.circuit

    @property
    def program(self) -> Program | None:
        """The traced circuit; None where it cannot be traced."""
        self._prepare()
        return self._program

    @property
    def simulator(self) -> str:
        """The simulator in use: ``lightning``, ``dense`` or ``qnode``."""
        return "qnode" if self._in_use() is None else self._wanted

    @property
    def fallback_reason(self) -> str | None:
        """Why the ordinary QNode runs instead of the requested simulator; None where it doesn't."""
        self._prepare()
        return self._reason

    @property
    def why_no_states(self) -> str | None:
        """Why there are no pure states behind its gates, as what the circuit does; None where there are."""
        if self.simulator == "qnode":
            return f"runs as an ordinary QNode because {self._reason or 'simulator is qnode'}"
        return "measures in mid-circuit" if self._program and self._program.measures_midway else None

    @property
    def takes_batches(self) -> bool:
        """Whether the circuit is written for inputs of shape (B, n_inputs): ``inputs[..., k]``, not ``inputs[k]``."""
        if self.program is None and self._qnode is None:
            _ = self.n_outputs
        return (self._rank if self._qnode is None else self._qnode.rank) == 2

    @property
    def n_wires(self) -> int:
        """Number of wires."""
        return self.program.n_wires if self.program else len(self._wires or ())

    @property
    def n_outputs(self) -> int:
        """Values a sample."""
        self._prepare()
        if not self._n_outputs:
            with torch.no_grad():
                draw = partial(torch.rand, generator=torch.Generator().manual_seed(0))
                weights = {name: draw(shape) for name, shape in self.weight_shapes.items()}
                self._n_outputs = self._by_qnode(draw(2, self.n_inputs), weights).shape[-1]
        return self._n_outputs

    def __call__(self, inputs: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Values of shape (B, n_outputs), in the dtype and on the device of the inputs.

        Args:
            inputs: Shape (B, n_inputs), floating.
            weights: By name, in their shapes.

        Raises:
            ValueError: If inputs or weights have other shapes.
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.n_inputs:
            raise ValueError(f"inputs have shape {tuple(inputs.shape)}; this circuit takes (B, {self.n_inputs})")
        if (engine := self._in_use()) is not None:
            try:
                if self._wanted == "dense" or not inputs.is_cpu or transforms_active():
                    return dense_values(engine.dense, inputs, list(weights.values()))
                return evaluate(engine, inputs, list(weights.values()))
            except UnsupportedError as error:
                self._fall_back(str(error))
        return self._by_qnode(inputs, weights)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, Any]:
        """On arrays: values (B, n_outputs) of inputs (B, n_inputs) and flat weights (n_weights,).

        All of them may have a leading heads axis, as for ``heads``.

        Returns:
            The values, float64, and the memory for ``backward`` if ``keep``.
        """
        if self._in_use() is not None:
            try:
                return self._runner(inputs.ndim == 3).forward(inputs, weights, keep)
            except UnsupportedError as error:
                self._fall_back(str(error))
        leaves = [torch.from_numpy(np.array(array)).requires_grad_(keep) for array in (inputs, weights)]
        with torch.set_grad_enabled(keep):
            many = inputs.ndim == 3
            values = self.heads(*leaves) if many else self._by_qnode(leaves[0], self.split(leaves[1]))
        return values.detach().numpy(), (values, leaves) if keep else None

    def backward(
        self, memory: Any, upstream: np.ndarray, need_inputs: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of inputs and flat weights, from the values' gradient (B, n_outputs); None where not needed."""
        if isinstance(memory, tuple):
            by_inputs, by_weights = backward_through(memory[0], memory[1], upstream, (need_inputs, need_weights))
            return by_inputs, by_weights
        return self._runner(upstream.ndim == 3).backward(memory, upstream, need_inputs, need_weights)

    def heads(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Many heads side by side, each with weights and a batch of its own: values (heads, B, n_outputs).

        Torch's own operations do all heads at once, on any device, differentiable any number of times. A circuit that
        runs as an ordinary QNode goes head by head.

        Args:
            inputs: Shape (heads, B, n_inputs), floating.
            weights: Shape (heads, n_weights), flat as for ``split``.
        """
        if (engine := self._in_use()) is not None:
            try:
                return engine.dense(inputs, weights)
            except UnsupportedError as error:
                self._fall_back(str(error))
        pairs = zip(inputs.unbind(), weights.unbind(), strict=True)
        return torch.stack([self._by_qnode(batch, self.split(of_head)) for batch, of_head in pairs])

    def states(self, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """States behind the gates, (heads, 2ⁿ, B), of what ``heads`` takes; real where few wires have real gates alone.

        Raises:
            UnsupportedError: If it has none.
        """
        if reason := self.why_no_states:
            raise UnsupportedError(f"the circuit {self.name} {reason}")
        assert self._engine is not None
        return self._engine.dense.states(inputs, weights)

    def split(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Flat weights (n_weights,) as weights by name."""
        if [*self.weight_shapes.values()] == [weights.shape]:
            return dict.fromkeys(self.weight_shapes, weights)  # A node of torch's graph costs as much as small gates.
        sizes = [int(np.prod(shape)) for shape in self.weight_shapes.values()]
        pieces = weights.split(sizes) if sizes else ()
        return {
            name: piece.reshape(shape) for (name, shape), piece in zip(self.weight_shapes.items(), pieces, strict=True)
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledCircuit:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A copy prepares itself on first use.
        kept = {"weight_shapes", "n_inputs", "n_weights", "c_dtype", "_wanted", "_device_name", "_wanted_rank"}
        state = {name: value for name, value in self.__dict__.items() if name in kept}
        return state | {"circuit": portable(self.circuit)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.circuit = restored(self.circuit)
        self._reset()

    def _runner(self, many: bool) -> Engine | Dense | Heads | HeadByHead:
        """The simulator on arrays, of one head or of many."""
        engine = self._engine
        assert engine is not None
        if many and (isinstance(engine.heads, Heads) or bindings_problem() is None):
            return engine.heads
        return engine.dense if many or self._wanted == "dense" else engine

    @property
    def _wires(self) -> list[Any] | None:
        """The device's wire labels in order; None to take the circuit's."""
        if isinstance(self.circuit, qml.QNode):
            return None if self.circuit.device.wires is None else list(self.circuit.device.wires)
        are_numbers = all(isinstance(label, int) for label in self._labels)
        return (sorted(self._labels) if are_numbers else self._labels) or None

    def _in_use(self) -> Engine | None:
        """The engine; None where the ordinary QNode runs instead."""
        self._prepare()
        if self._engine is not None and self._reason is None and (change := self._engine.reads.change()):
            self._fall_back(change)
        return self._engine if self._reason is None else None

    def _prepare(self) -> None:
        """Trace the circuit and compare it with its QNode, once."""
        if self.is_ready:
            return
        with self._lock, apart():
            if self.is_ready:
                return
            reason = self._trace()
            if reason is None and self._program is not None:
                self._n_outputs = self._program.n_outputs
                if self._wanted != "qnode":
                    engine = Engine(self._program, self.function, self.weight_shapes, self.c_dtype, self._wires)
                    checked: Any = engine
                    if self._wanted == "dense":
                        checked = engine.dense = Dense(self._program, engine.traced)
                    try:
                        reason = difference(checked, self._program, self._by_qnode, self.weight_shapes)
                    except Exception as error:  # A QNode may take batches of one size alone.
                        reason = f"comparing it with its QNode raised {type(error).__name__}: {error}"
                    self._engine = engine if reason is None else None
            # Other threads no longer wait from here on.
            self._reason = None if self._wanted == "qnode" else reason
            self.is_ready = True
            if self._reason is not None:
                self._fall_back(self._reason)

    def _trace(self) -> str | None:
        """Make the program; return None, or the reason why it can't be made."""
        if isinstance(self.circuit, qml.QNode) and self.circuit.shots:
            return "it runs with a finite number of shots"
        problem = None
        for rank in (self._wanted_rank,) if self._wanted_rank else (2, 1):
            try:
                program, self._labels = make_program(
                    self.function, self.n_inputs, self.weight_shapes, rank, self._wires
                )
                if self._labels != self._wires and not isinstance(self.circuit, qml.QNode):
                    program, _ = make_program(self.function, self.n_inputs, self.weight_shapes, rank, self._wires)
            except Exception as error:
                known = isinstance(error, UnsupportedError)
                problem = problem or (str(error) if known else f"tracing it raised {type(error).__name__}: {error}")
                continue
            self._program, self._rank = program, rank
            return None
        return problem

    def _fall_back(self, reason: str) -> None:
        self._reason = reason  # The engine stays: other threads may be using it.
        warnings.warn(
            f"the circuit {self.name} runs as an ordinary QNode, sample by sample or slowly, because {reason}",
            RuntimeWarning,
            stacklevel=4,
        )

    def _by_qnode(self, inputs: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The same values by the ordinary QNode."""
        if self._qnode is None:
            self._qnode = OrdinaryQNode(self.circuit, self._device_name, self._wires, self._rank, self._program)
        return self._qnode(inputs, weights)
