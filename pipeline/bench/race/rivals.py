"""The rivals in torch: PennyLane's ways to run the circuit, ours, and the head without it.

``python -m pipeline.bench.race.rivals NAME`` is the process of one rival; see :mod:`pipeline.bench.worker`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch._dynamo  # torch.optim imports it with its first optimiser: two seconds, here once and not in every child
from torch import nn
from torch.nn import functional

from pipeline.bench.race import anycircuit
from pipeline.bench.race.worker import ANY_CIRCUIT, LEARNING_RATE, N_CLASSES, N_FEATURES, Task, Work, serve
from pipeline.heads.base import QUARTER_TURN
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.stacked_dressed import stack
from pipeline.training.epochs import train_step
from pipeline.training.optimizer import Adam

LIBRARIES = ("torch", "pennylane", "pennylane-lightning", "numpy")
N_HEADS = 100
LARGEST_BACKPROP = 8
"""Qubits up to which the reference is default.qubit, with the gradient by backpropagation; lightning.qubit beyond."""


class SampleLoop(DressedQuantumNet):
    """The head as the PennyLane demo runs it: on default.qubit, a circuit for every sample in a Python loop."""

    @cached_property
    def qnode(self) -> Any:
        """The circuit."""
        return self.circuit.qnode("default.qubit", "best")

    def expectation_values(self, angles: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire, shape (B, n_qubits)."""
        return torch.stack([torch.stack(list(self.qnode(sample, self.q_params))) for sample in angles]).to(angles.dtype)


class Broadcast(DressedQuantumNet):
    """The head on lightning.qubit, a batch broadcast, as PennyLane does it unasked."""

    @cached_property
    def qnode(self) -> Any:
        """The circuit."""
        return self.circuit.qnode()

    def expectation_values(self, angles: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire, shape (B, n_qubits)."""
        return torch.stack(list(self.qnode(angles, self.q_params)), dim=-1).to(angles.dtype)


class BroadcastProducts(Broadcast):
    """The same, where the device multiplies its Jacobian by a gradient, in one pass backwards."""

    @cached_property
    def qnode(self) -> Any:
        """The circuit."""
        return self.circuit.qnode().update(device_vjp=True, grad_on_execution=False)


class NoCircuit(nn.Module):
    """The head with the circuit removed, of plain torch layers: the floor for every circuit."""

    def __init__(self, n_features: int, n_classes: int, n_qubits: int) -> None:
        super().__init__()
        self.pre_net = nn.Linear(n_features, n_qubits)
        self.post_net = nn.Linear(n_qubits, n_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, n_classes)."""
        return self.post_net(torch.tanh(self.pre_net(features)) * QUARTER_TURN)


class CircuitTask:
    """The circuit alone, forward and backward."""

    units = 1

    def __init__(self, work: Work, head: DressedQuantumNet, dtype: torch.dtype = torch.float32) -> None:
        arrays = {name: torch.from_numpy(values).to(dtype) for name, values in work.arrays().items()}
        self.head = head.to(dtype)
        self.head.q_params.data = arrays["q_params"]
        self.angles, self.upstream = arrays["angles"].requires_grad_(), arrays["upstream"]

    def __call__(self) -> tuple[torch.Tensor, ...]:
        """Values, and the gradients for angles and weights."""
        values = self.head.expectation_values(self.angles)
        return values.detach(), *torch.autograd.grad(values, (self.angles, self.head.q_params), self.upstream)

    def results(self, _first: Any, second: tuple[torch.Tensor, ...]) -> dict[str, Any]:
        """See :class:`pipeline.bench.race.worker.Task`."""
        return dict(zip(("values", "angles", "q_params"), second, strict=True))


class StepTask:
    """A whole training step as PyTorch's users write it: loss, ``backward``, torch's own fused Adam."""

    units = 1

    def __init__(self, work: Work, head: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        arrays = {name: torch.from_numpy(values) for name, values in work.arrays().items()}
        self.head = head.to(dtype)
        self.head.load_state_dict({name: arrays[name] for name in head.state_dict()})
        self.features, self.labels = arrays["features"].to(dtype), arrays["labels"]
        self.optimizer = self.make_optimizer()

    def make_optimizer(self) -> Any:
        """The optimiser of the head's parameters."""
        return torch.optim.Adam(self.head.parameters(), lr=LEARNING_RATE, fused=True)

    def __call__(self) -> torch.Tensor:
        """Logits from before the step."""
        self.optimizer.zero_grad()
        logits = self.head(self.features)
        functional.cross_entropy(logits, self.labels).backward()
        self.optimizer.step()
        return logits.detach()

    def results(self, first: torch.Tensor, second: torch.Tensor) -> dict[str, Any]:
        """See :class:`pipeline.bench.race.worker.Task`."""
        gradients = {name: parameter.grad for name, parameter in self.head.named_parameters()}
        return {"logits": first, "logits_2": second} | gradients


class TrainTask(StepTask):
    """A whole training step as ``python -m pipeline train`` does it."""

    def make_optimizer(self) -> Adam:
        """The optimiser of the head's parameters."""
        return Adam(self.head, lr=LEARNING_RATE)

    def __call__(self) -> torch.Tensor:
        """Logits from before the step."""
        return train_step(self.head, self.optimizer, self.features, self.labels)  # type: ignore[arg-type]


class ForwardTask(StepTask):
    """Evaluation: the logits alone."""

    def __call__(self) -> torch.Tensor:
        """The logits."""
        with torch.no_grad():
            return self.head(self.features)

    def results(self, first: torch.Tensor, _second: torch.Tensor) -> dict[str, Any]:
        """See :class:`pipeline.bench.race.worker.Task`."""
        return {"logits": first}


class HeadsTask:
    """A training step of many heads together, each with its own copy of the batch."""

    units = 1

    def __init__(self, work: Work, n_heads: int) -> None:
        arrays = {name: torch.from_numpy(values) for name, values in work.arrays().items()}
        head = _head(work)
        head.load_state_dict({name: arrays[name] for name in head.state_dict()})
        self.heads = stack([head] * n_heads)
        self.features, self.labels = arrays["features"], arrays["labels"].expand(n_heads, -1).contiguous()
        self.rows = torch.arange(work.batch).expand(n_heads, -1).contiguous()
        self.optimizer = Adam(self.heads, lr=LEARNING_RATE)

    def __call__(self) -> torch.Tensor:
        """The heads' logits from before the step, shape (heads, batch, classes)."""
        _, logits = self.heads.backward_cross_entropy(self.features, self.labels, self.rows)
        self.optimizer.step()
        return logits

    def results(self, first: torch.Tensor, second: torch.Tensor) -> dict[str, Any]:
        """See :class:`pipeline.bench.race.worker.Task`: of the last head."""
        names = ("pre_net.weight", "post_net.bias", "q_params")
        arrays = {name: self.heads.head.get_parameter(name).grad for name in names}
        arrays |= {"logits": first, "logits_2": second}
        return {name: values[-1] for name, values in arrays.items() if values is not None}


def _qnode_head(kind: type[DressedQuantumNet], work: Work) -> DressedQuantumNet:
    return kind(N_FEATURES, N_CLASSES, work.qubits, work.depth, simulator="qnode")


def _head(
    work: Work, simulator: str = "lightning", device: str = "default.qubit", c_dtype: str = "complex128"
) -> DressedQuantumNet:
    return DressedQuantumNet(
        N_FEATURES, N_CLASSES, work.qubits, work.depth, simulator=simulator, device=device, c_dtype=c_dtype
    )


def _both(head: Callable[[Work], DressedQuantumNet], step: type[StepTask] = StepTask) -> Callable[[Work], Task]:
    def make(work: Work) -> Task:
        return CircuitTask(work, head(work)) if work.kind == "circuit" else step(work, head(work))

    return make


def _reference(work: Work) -> Task:
    device = "default.qubit" if work.qubits <= LARGEST_BACKPROP else "lightning.qubit"
    if work.kind in ANY_CIRCUIT:
        return anycircuit.reference(work, device)
    task = CircuitTask if work.kind == "circuit" else StepTask
    return task(work, _head(work, "qnode", device), torch.float64)


def _any(layer: Callable[[Work], anycircuit.LayerTask], paper: Callable[[Work], Task]) -> Callable[[Work], Task]:
    """A rival that also runs circuits other than the paper's."""
    return lambda work: layer(work) if work.kind in ANY_CIRCUIT else paper(work)


RIVALS: dict[str, Callable[[Work], Task]] = {
    "reference": _reference,
    "demo_loop": _both(lambda w: _qnode_head(SampleLoop, w)),
    "lightning_qubit": _both(lambda w: _qnode_head(Broadcast, w)),
    "lightning_vjp": _both(lambda w: _qnode_head(BroadcastProducts, w)),
    "default_qubit": _any(anycircuit.ordinary, _both(lambda w: _head(w, "qnode", "default.qubit"))),
    "ours_lightning": _any(anycircuit.ours, _both(lambda w: _head(w, "lightning"), TrainTask)),
    "ours_lightning_single": _any(anycircuit.ours_single, _both(lambda w: _head(w, c_dtype="complex64"), TrainTask)),
    "ours_lightning_module": lambda w: StepTask(w, _head(w, "lightning")),
    "ours_dense": _both(lambda w: _head(w, "dense"), TrainTask),
    "fastqml": anycircuit.fastqml,
    "floor": lambda w: StepTask(w, NoCircuit(N_FEATURES, N_CLASSES, w.qubits)),
    "ours_lightning_forward": lambda w: ForwardTask(w, _head(w, "lightning")),
    "ours_dense_forward": lambda w: ForwardTask(w, _head(w, "dense")),
    "ours_100_heads": lambda w: HeadsTask(w, N_HEADS),
}


def main() -> None:
    """Serve the rival that the command line names."""
    # Before the first computation: torch would take all cores. The libraries below it read this variable themselves.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    serve(RIVALS[sys.argv[1]], LIBRARIES)


if __name__ == "__main__":
    main()
