"""A circuit as a program: gates with numbered parameters, and these as functions of inputs and weights.

In: a quantum function, traced at a few random points. Out: a ``Program``. Where every gate parameter is a polynomial of
degree 2 or less in the inputs and weights, its coefficients are found once and no tracing happens again; a circuit with
other functions is traced again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.quantum.program.polynomial import Polynomials, find_polynomials
from pipeline.quantum.program.tape import Gate, Measurement, Trace, UnsupportedError, trace

SCALES = (1.0, 3.0, 9.0, 1000.0)
"""Spread of the random points at which a circuit is traced."""


@dataclass(frozen=True)
class Parameter:
    """The place of a gate's parameter.

    Attributes:
        kind: ``shared``: one angle for all samples; ``batched``: an angle a sample; ``matrix``: a matrix.
        index: Its place among the parameters of its kind.
    """

    kind: str
    index: int


@dataclass(frozen=True)
class Amplitudes:
    """The initial state: the inputs, padded and normalised, or given by tracing.

    Attributes:
        wires: The wires they stand on; the others are |0⟩.
        pad: What fills the inputs up to 2^k amplitudes; None where the inputs need none.
        normalise: Whether the norm is divided out; without it, the inputs must have norm 1.
        traced: Whether they are another function of the inputs and need tracing.
    """

    wires: tuple[int, ...]
    pad: float | None = None
    normalise: bool = True
    traced: bool = False


@dataclass(frozen=True)
class Program:
    """A traced circuit.

    Attributes:
        n_wires: Number of wires.
        n_inputs: Inputs a sample.
        n_weights: Weights, all of them in one flat vector, in the order of ``weight_shapes``.
        gates: In order.
        parameters: One for each gate; None for fixed gates.
        measurements: The outputs.
        container: As in ``Trace``.
        amplitudes: The initial state, if it is not |0…0⟩.
        polynomials: Angles as polynomials of inputs and weights; None if some angle is another function.
        n_shared: Number of shared angles.
        n_batched: Number of angles a sample.
        rank: 2 if the function takes inputs of shape (B, n_inputs), 1 if it takes one sample at a time.
        measures_midway: As in ``Trace``.
    """

    n_wires: int
    n_inputs: int
    n_weights: int
    gates: tuple[Gate, ...]
    parameters: tuple[Parameter | None, ...]
    measurements: tuple[Measurement, ...]
    container: str
    amplitudes: Amplitudes | None
    polynomials: Polynomials | None
    n_shared: int
    n_batched: int
    rank: int
    measures_midway: bool = False

    @property
    def n_outputs(self) -> int:
        """Values a sample."""
        return sum(m.size for m in self.measurements)

    @property
    def uses_inputs(self) -> bool:
        """False if no gate depends on the inputs, so that every sample has the same values."""
        traced_matrices = any(parameter is not None and parameter.kind == "matrix" for parameter in self.parameters)
        return self.n_batched > 0 or self.amplitudes is not None or traced_matrices


def make_program(
    function: Callable[..., Any],
    n_inputs: int,
    weight_shapes: Mapping[str, Sequence[int]],
    rank: int = 2,
    wires: Sequence[Any] | None = None,
) -> tuple[Program, list[Any]]:
    """Trace a quantum function at random points; the program, and the labels of its wires in order.

    Args:
        function: Takes ``inputs`` and the weights by name.
        n_inputs: Inputs a sample.
        weight_shapes: Shape of each weight.
        rank: 2 to trace with inputs of shape (B, n_inputs), 1 with (n_inputs,).
        wires: Wire labels in order.

    Raises:
        UnsupportedError: If the batched simulators cannot run it.
    """
    points = [_point(n_inputs, weight_shapes, rank, scale, seed) for seed, scale in enumerate(SCALES)]
    try:
        traces = [trace(function, *point, wires) for point in points]
    except ValueError as error:
        if isinstance(error, UnsupportedError):
            raise
        # A state must be given with norm 1.
        for inputs, _ in points:
            inputs.data /= inputs.data.norm(dim=-1, keepdim=True)
        traces = [trace(function, *point, wires) for point in points]
    first = traces[0]
    if any(other.structure != first.structure for other in traces[1:]):
        raise UnsupportedError("its gates depend on the values of inputs or weights")
    n_samples = None if rank == 1 else len(points[0][0])
    _check_shapes(first, n_samples)
    _check_leaves(first, [points[0][0], *points[0][1].values()])
    rotations = [k for k, gate in enumerate(first.gates) if gate.name == "rotation"]
    matrices = [k for k, gate in enumerate(first.gates) if gate.name == "matrix"]
    amplitudes = _amplitudes(traces, points)
    polynomials = None
    if not matrices and not (amplitudes and amplitudes.traced):
        leaves = [(inputs, list(weights.values())) for inputs, weights in points]
        polynomials = find_polynomials([[_angle(t, k) for k in rotations] for t in traces], leaves)
    parameters: list[Parameter | None] = [None] * len(first.gates)
    counts = {"shared": 0, "batched": 0}
    if polynomials is not None:
        for k, (kind, index) in zip(rotations, polynomials.places, strict=True):
            parameters[k] = Parameter(kind, index)
        counts = {"shared": polynomials.n_shared, "batched": polynomials.n_batched}
    else:
        for k in rotations:
            kind = "batched" if rank == 1 or _angle(first, k).ndim else "shared"
            parameters[k] = Parameter(kind, counts[kind])
            counts[kind] += 1
    for index, k in enumerate(matrices):
        parameters[k] = Parameter("matrix", index)
    n_weights = sum(weight.numel() for weight in points[0][1].values())
    program = Program(
        first.n_wires,
        n_inputs,
        n_weights,
        first.gates,
        tuple(parameters),
        first.measurements,
        first.container,
        amplitudes,
        polynomials,
        counts["shared"],
        counts["batched"],
        rank,
        first.measures_midway,
    )
    return program, first.labels


def _point(
    n_inputs: int, weight_shapes: Mapping[str, Sequence[int]], rank: int, scale: float, seed: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {n_inputs, *(size for shape in weight_shapes.values() for size in shape)}
    # A size that no other axis has, so that the axis of the samples can be told apart.
    n_samples = next(n for n in (5, 7, 11, 13, 17, 19, 23) if n not in sizes or n == 23)
    shape = (n_samples, n_inputs) if rank == 2 else (n_inputs,)

    def draw(shape: Sequence[int]) -> torch.Tensor:
        values = scale * torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return draw(shape), {name: draw(shape) for name, shape in weight_shapes.items()}


def _angle(traced: Trace, k: int) -> torch.Tensor:
    angle = traced.parameters[k]
    assert angle is not None
    return angle


def _check_shapes(traced: Trace, n_samples: int | None) -> None:
    for gate, parameter in zip(traced.gates, traced.parameters, strict=True):
        if parameter is None:
            continue
        extra = tuple(parameter.shape if gate.name == "rotation" else parameter.shape[:-2])
        if extra not in ((), (n_samples,)):
            raise UnsupportedError(
                f"a parameter on wires {list(gate.wires)} has shape {tuple(parameter.shape)} where inputs are a batch"
                f" of {n_samples}: one value, or one a sample"
            )
    if traced.amplitudes is not None and traced.amplitudes.shape[:-1] not in ((), (n_samples,)):
        raise UnsupportedError(f"the initial state has shape {tuple(traced.amplitudes.shape)}")


def _check_leaves(traced: Trace, leaves: Sequence[torch.Tensor]) -> None:
    """Refuse angles with a gradient to a tensor that is neither inputs nor a weight, like a parameter in a closure."""
    known = {id(leaf) for leaf in leaves}
    tensors = [t for t in (*traced.parameters, traced.amplitudes) if t is not None and t.requires_grad]
    nodes = {torch.autograd.graph.get_gradient_edge(tensor).node for tensor in tensors}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", leaves[0])
        if id(leaf) not in known:
            raise UnsupportedError(
                f"it uses a tensor of shape {tuple(leaf.shape)} that requires a gradient and is neither inputs nor a "
                "weight: name it in weight_shapes"
            )
        after = {n for n, _ in node.next_functions if n is not None} - nodes
        nodes |= after
        waiting += after


def _amplitudes(traces: Sequence[Trace], points: Sequence[tuple[torch.Tensor, Any]]) -> Amplitudes | None:
    wires = traces[0].state_wires
    if traces[0].amplitudes is None:
        return None
    found: set[tuple[float | None, bool]] = set()
    for traced, (inputs, _) in zip(traces, points, strict=True):
        assert traced.amplitudes is not None
        states, rows = np.atleast_2d(traced.amplitudes.detach().numpy()), np.atleast_2d(inputs.detach().numpy())
        n_missing = states.shape[-1] - rows.shape[-1]
        if len(states) != len(rows) or n_missing < 0:
            return Amplitudes(wires, traced=True)
        pads = (states[:, -1] * rows[:, 0] / states[:, 0]).real if n_missing else np.zeros(len(rows))
        padded = np.concatenate([rows, np.repeat(pads[:, None], n_missing, axis=1)], axis=1)
        norms = np.linalg.norm(padded, axis=1, keepdims=True)
        if np.ptp(pads) > 1e-9 or not np.allclose(states, padded / norms, rtol=0, atol=1e-12):
            return Amplitudes(wires, traced=True)
        unit = bool(np.allclose(np.linalg.norm(rows, axis=1), 1))
        found.add((round(float(pads[0]), 9) if n_missing else None, not unit))
    if len(found) != 1:
        return Amplitudes(wires, traced=True)
    pad, normalise = found.pop()
    return Amplitudes(wires, pad, normalise)
