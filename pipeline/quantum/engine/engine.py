"""A program with its simulator: inputs and weights in, values out, and gradients back.

Angles are polynomials of inputs and weights. Of a circuit with other functions, a trace's calls of torch are recorded
and made again, and torch's own graph carries the gradients back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from pipeline.quantum.autograd import apart
from pipeline.quantum.check import same
from pipeline.quantum.dense.dense import Dense
from pipeline.quantum.engine.chain import fits
from pipeline.quantum.engine.fronts import InitialStates
from pipeline.quantum.engine.heads import HeadByHead, Heads
from pipeline.quantum.engine.simulator import Parameters, Simulator
from pipeline.quantum.lightning import bindings_problem
from pipeline.quantum.program.polynomial import Angles
from pipeline.quantum.program.program import Program
from pipeline.quantum.program.recording import Recorded
from pipeline.quantum.program.tape import UnsupportedError, is_variable, trace
from pipeline.quantum.signature import Reads


@dataclass
class Memory:
    """Memory for ``Engine.backward``: the simulator's own, and the inputs, weights or traced parameters."""

    of_simulator: Any
    inputs: np.ndarray
    weights: np.ndarray
    initial: InitialStates | None = None
    traced: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None


class Engine:
    """Values and gradients of one circuit for batches, on arrays.

    Args:
        program: The traced circuit.
        function: Its quantum function, to trace again where the program needs that.
        weight_shapes: Shape of each weight.
        c_dtype: Precision of the states.
        wires: Wire labels in order.

    Attributes:
        c_dtype: Precision of the states.
    """

    def __init__(
        self,
        program: Program,
        function: Callable[..., Any],
        weight_shapes: Mapping[str, tuple[int, ...]],
        c_dtype: str,
        wires: Sequence[Any] | None,
    ) -> None:
        self.program = program
        self.n_outputs = program.n_outputs
        self._function, self._weight_shapes, self._wires = function, weight_shapes, wires
        self._gates = tuple(gate.key for gate in program.gates)
        self._simulator = Simulator(program, c_dtype)
        self.c_dtype, self._dtype = c_dtype, np.zeros(0, c_dtype).real.dtype
        self._recorded = Recorded(*[self._of_batch] if program.rank == 2 else [self._of_samples, self._of_sample])

    @cached_property
    def reads(self) -> Reads:
        """What its function reads beside inputs and weights, as it was at the first look."""
        return Reads(self._function)

    @cached_property
    def dense(self) -> Dense:
        """The same circuit in torch's own operations.

        Raises:
            UnsupportedError: If its values or gradients are others than this engine's.
        """
        dense = Dense(self.program, self.traced)
        if not self._agrees_with(dense):
            raise UnsupportedError("its form in torch's operations has other values or gradients")
        return dense

    @cached_property
    def heads(self) -> Heads | HeadByHead:
        """The same circuit for many heads, each with inputs and weights of its own."""
        together = Heads(self.program) if fits(self.program) else None
        return together if together and self._agrees_with(together) else HeadByHead(self)

    def _agrees_with(self, heads: Heads | Dense) -> bool:
        """Whether these have this engine's values and gradients."""
        if bindings_problem() is not None:
            return True  # Without Lightning's bindings there is nothing to compare with.
        with apart():
            return same(heads, HeadByHead(self), self.program, self.c_dtype)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, keep: bool = True) -> tuple[np.ndarray, Memory | None]:
        """Values (B, n_outputs) of inputs (B, n_inputs) and flat weights (n_weights,), and memory if ``keep``."""
        inputs = inputs.astype(self._dtype, copy=False)
        weights = weights.astype(self._dtype, copy=False)
        memory = Memory(None, inputs, weights)
        program = self.program
        if program.polynomials is None:
            parameters = self._traced(memory, keep)
        else:
            angles = program.polynomials(inputs.T, weights[:, None])
            # Coefficients are float64: where angles aren't plain inputs they come out so.
            parameters = Parameters(angles.shared[:, 0], angles.batched.astype(self._dtype, copy=False))
            if program.amplitudes is not None:
                memory.initial = InitialStates(program.amplitudes, inputs.T)
                parameters.amplitudes = memory.initial.states
        values, memory.of_simulator = self._simulator.forward(parameters, len(inputs), keep)
        return values, memory if keep else None

    def backward(
        self, memory: Memory, upstream: np.ndarray, need_inputs: bool = True, need_weights: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gradients of inputs and flat weights, from the values' gradient (B, n_outputs); None where not needed."""
        program = self.program
        upstream = upstream.astype(self._dtype, copy=False)
        # Samples' own angles may depend on weights too.
        need_batched = need_inputs or not (program.polynomials and program.polynomials.plain_inputs)
        need_shared = need_weights or program.polynomials is None
        gradient = self._simulator.backward(memory.of_simulator, upstream, need_batched, need_shared)
        if program.polynomials is None:
            return self._through_trace(memory, gradient, need_inputs, need_weights)
        by_inputs, by_weights = program.polynomials.gradients(
            memory.inputs.T,
            memory.weights[:, None],
            Angles(gradient.shared[:, None], gradient.batched),
            need_inputs,
            need_weights,
        )
        if memory.initial is not None and by_inputs is not None:
            assert gradient.amplitudes is not None
            by_inputs = by_inputs + memory.initial.gradient(gradient.amplitudes.real)
        return None if by_inputs is None else by_inputs.T, None if by_weights is None else by_weights[:, 0]

    def _traced(self, memory: Memory, keep: bool) -> Parameters:
        """Parameters by tracing the circuit with these inputs and weights."""
        with torch.set_grad_enabled(keep):
            leaves = [
                torch.from_numpy(np.array(a, dtype=np.float64)).requires_grad_(keep)
                for a in (memory.inputs, memory.weights)
            ]
            outputs = self.traced(*leaves)
        memory.traced = (outputs, leaves)
        shared, batched, *rest = (tensor.detach().numpy() for tensor in outputs)
        amplitudes = rest.pop() if self.program.amplitudes is not None else None
        matrices = [matrix.astype(self.c_dtype, copy=False) for matrix in rest]
        return Parameters(shared, batched.astype(self._dtype, copy=False), amplitudes, matrices)

    def traced(self, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        """Gate parameters: shared (n_shared,), batched (n_batched, B), matrices, amplitudes.

        They have torch's graph where inputs or weights need one.
        """
        # Tracing tells parameters from constants by their graph, so it needs one of both, whatever the caller's mode.
        with torch.inference_mode(False), torch.enable_grad():
            found = self._recorded(*(t if is_variable(t) else _leaf(t) for t in (inputs, weights)))
            if self.program.rank == 1:
                shared, batched, *rest = found
                states = [rest.pop()[..., 0].T] if self.program.amplitudes else []
                found = [shared[0], batched[..., 0].T, *rest, *states]
        if torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad):
            return found
        return [t if torch._C._functorch.is_functorch_wrapped_tensor(t) else t.detach() for t in found]

    def _of_batch(self, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        if len(inputs) > 1:
            return self._read(inputs, weights, len(inputs))
        # Some decompositions of PennyLane fail for a batch of one: duplicate the sample.
        shared, batched, *rest = self._read(inputs.expand(2, -1), weights, 2)
        states = [rest.pop()[:, :1]] if self.program.amplitudes else []
        return [shared, batched[:, :1], *(m[:1] if m.ndim == 3 else m for m in rest), *states]

    def _of_sample(self, sample: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        return self._read(sample, weights, 1)

    def _of_samples(self, inputs: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
        return [torch.stack(parts) for parts in zip(*(self._of_sample(row, weights) for row in inputs), strict=True)]

    def _read(self, inputs: torch.Tensor, weights: torch.Tensor, n_samples: int) -> list[torch.Tensor]:
        pieces = (
            weights.split([math.prod(shape) for shape in self._weight_shapes.values()]) if self._weight_shapes else ()
        )
        shapes = zip(self._weight_shapes.items(), pieces, strict=True)
        by_name = {name: piece.reshape(shape) for (name, shape), piece in shapes}
        traced = trace(self._function, inputs, by_name, self._wires)
        if tuple(gate.key for gate in traced.gates) != self._gates:
            raise UnsupportedError("its gates depend on the values of inputs or weights")
        kinds: dict[str, list[torch.Tensor]] = {"shared": [], "batched": [], "matrix": []}
        for tensor, parameter in zip(traced.parameters, self.program.parameters, strict=True):
            if parameter is not None and tensor is not None:
                tensor = tensor.to(inputs.device)  # Constants of the circuit are on the CPU.
                kinds[parameter.kind].append(tensor.expand(n_samples) if parameter.kind == "batched" else tensor)
        result = [
            torch.stack(kinds["shared"]) if kinds["shared"] else inputs.new_zeros(0),
            torch.stack(kinds["batched"]) if kinds["batched"] else inputs.new_zeros(0, n_samples),
            *kinds["matrix"],
        ]
        if traced.amplitudes is not None:
            states = traced.amplitudes.to(inputs.device).reshape(-1, traced.amplitudes.shape[-1]).expand(n_samples, -1)
            result.append(states.T)
        return result

    def _through_trace(
        self, memory: Memory, gradient: Parameters, need_inputs: bool, need_weights: bool
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        assert memory.traced is not None
        outputs, leaves = memory.traced
        arrays = [gradient.shared, gradient.batched, *gradient.matrices]
        if gradient.amplitudes is not None:
            arrays.append(gradient.amplitudes)
        pairs = [(output, array) for output, array in zip(outputs, arrays, strict=True) if output.requires_grad]
        wanted = [leaf for leaf, needed in zip(leaves, (need_inputs, need_weights), strict=True) if needed]
        upstream = [
            torch.from_numpy(np.ascontiguousarray(array if output.is_complex() else array.real)).to(output.dtype)
            for output, array in pairs
        ]
        if not pairs:
            gradients = iter([torch.zeros_like(leaf) for leaf in wanted])
        else:
            gradients = iter(
                torch.autograd.grad(
                    [output for output, _ in pairs], wanted, upstream, retain_graph=True, materialize_grads=True
                )
            )
        return tuple(next(gradients).detach().numpy() if needed else None for needed in (need_inputs, need_weights))  # type: ignore[return-value]


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that requires a gradient, which torch refuses to make under ``torch.func``."""
    with temporarily_clear_interpreter_stack():
        return tensor.detach().clone().requires_grad_()
