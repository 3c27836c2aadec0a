"""A circuit as an ordinary QNode: the reference of the simulators, and their fallback.

In: inputs (B, n_inputs) and weights by name. Out: all measurements side by side, (B, n_outputs), in the inputs' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pennylane as qml
import torch

from pipeline.quantum.autograd import transforms_active
from pipeline.quantum.program.program import Program

LARGEST_BACKPROP = 12
"""Wires up to which a quantum function without a device runs on default.qubit rather than lightning.qubit, and up to
which Lightning's whole Jacobian takes less time than PennyLane's bookkeeping for its products."""


class OrdinaryQNode:
    """A QNode, or one made of a quantum function on first use.

    Args:
        circuit: The quantum function or QNode.
        device: PennyLane device of a quantum function; chosen by the number of wires if None.
        wires: Wire labels in order, of a quantum function.
        rank: 2 if the circuit takes inputs of shape (B, n_inputs), 1 if it takes one sample at a time.
        program: The traced circuit, if it can be traced.

    Attributes:
        rank: 2, or, where the first batch showed that the circuit takes no batches, 1.
    """

    def __init__(
        self,
        circuit: Callable[..., Any],
        device: str | None,
        wires: Sequence[Any] | None,
        rank: int,
        program: Program | None = None,
    ) -> None:
        self._circuit, self._device, self._wires, self.rank, self._program = circuit, device, wires, rank, program
        self._qnodes: dict[bool, Any] = {}
        self._gradients_work = self._rank_holds = False

    def __call__(self, inputs: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Values of shape (B, n_outputs)."""
        if not inputs.is_cpu:
            # default.qubit begins with a state on the CPU (pennylane#1290), and Lightning computes there anyway.
            there = self(inputs.cpu(), {name: weight.cpu() for name, weight in weights.items()})
            return there.to(inputs.device)
        if not len(inputs):
            with torch.no_grad():
                n_outputs = self._values(inputs.new_ones(1, inputs.shape[1]), weights).shape[-1]
            return inputs.sum() + sum(w.sum() for w in weights.values()) + inputs.new_zeros(0, n_outputs)
        try:
            return self._values(inputs, weights)
        except RuntimeError as error:
            if not transforms_active():
                raise
            raise RuntimeError(
                "this circuit runs as an ordinary QNode, which this transform of torch.func can't go through; "
                "circuits on simulator='lightning' or 'dense' can"
            ) from error

    def _values(self, inputs: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        leaves = [t for t in (inputs, *weights.values()) if torch.is_grad_enabled() and t.requires_grad]
        qnode = self._qnode(bool(leaves))
        if self.rank == 2:
            try:
                values = _flatten(qnode(inputs=inputs, **weights), (len(inputs),), inputs)
                self._check_rank(qnode, inputs, weights, values)
                if values.requires_grad and not self._gradients_work:
                    torch.autograd.grad(values.sum(), leaves, retain_graph=True, allow_unused=True)
                    self._gradients_work = True
                return values
            except Exception:
                # Some gates of PennyLane take no batch (IsingXY with torch), and parameter-shift has no gradients of a
                # batch (pennylane#4462), which Lightning needs for probabilities: run the samples one by one.
                self.rank = 1
                try:
                    return self._values(inputs, weights)
                except Exception:
                    self.rank = 2
                raise
        rows = [_flatten(qnode(inputs=row, **weights), (), inputs) for row in inputs]
        return torch.stack(rows)

    def _check_rank(
        self, qnode: Any, inputs: torch.Tensor, weights: Mapping[str, torch.Tensor], values: torch.Tensor
    ) -> None:
        """Refuse values of a batch that are not those of its samples: ``inputs[0]`` of a batch is a whole row."""
        if self._rank_holds or len(inputs) < 2 or qnode.shots or transforms_active():
            return
        try:
            with torch.no_grad():
                alone = _flatten(qnode(inputs=inputs[0], **weights), (), inputs)
        except Exception:
            # It takes batches alone.
            alone = values[0]
        if alone.shape != values[0].shape or not torch.allclose(alone, values[0], 0, 1e-4, equal_nan=True):
            raise ValueError("the circuit takes one sample at a time")
        self._rank_holds = True

    def _qnode(self, differentiated: bool) -> Any:
        if differentiated in self._qnodes:
            return self._qnodes[differentiated]
        if isinstance(self._circuit, qml.QNode):
            qnode = self._circuit
        else:
            small = self._wires is None or len(self._wires) <= LARGEST_BACKPROP
            name = self._device or ("default.qubit" if small else "lightning.qubit")
            diff_method = "adjoint" if name.startswith("lightning") else "best"
            # Otherwise PennyLane computes the Jacobian of a Lightning device along with values that need no gradient.
            qnode = qml.QNode(
                self._circuit,
                qml.device(name, wires=self._wires),
                interface="torch",
                diff_method=diff_method if differentiated else None,
            )
        self._qnodes[differentiated] = self._by_products(qnode)
        return self._qnodes[differentiated]

    def _by_products(self, qnode: qml.QNode) -> qml.QNode:
        """Have Lightning multiply its Jacobian by a gradient, in one pass backwards, where it has many wires.

        Otherwise PennyLane asks for the whole Jacobian, which takes a pass and a state for each value: two minutes
        instead of four seconds for three samples of 18 wires.
        """
        program = self._program
        if (
            program is None
            or program.n_wires <= LARGEST_BACKPROP
            or any(measurement.kind == "probs" for measurement in program.measurements)
            or not qnode.device.name.startswith("lightning.")
            or qnode.diff_method not in ("adjoint", "best")
        ):
            return qnode
        return qnode.update(device_vjp=True, grad_on_execution=False)


def _flatten(result: Any, batch: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """The results of a QNode as one tensor of shape (*batch, n_outputs)."""
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    if any(r.is_complex() for r in results):
        raise ValueError(
            "the circuit returns complex amplitudes; return expectation values or probabilities: qml.expval, qml.probs"
        )
    # A circuit without inputs in it yields no axis of samples.
    rows = [
        r.to(like.dtype).reshape(*batch, -1) if r.shape[: len(batch)] == batch else r.to(like.dtype).reshape(-1)
        for r in results
    ]
    return torch.cat([r.expand(*batch, r.shape[-1]) for r in rows], dim=-1)
