"""Circuits other than the paper's: one QNode through PennyLane's ``TorchLayer`` and through ours, and fastQML.

In: work of the kinds ``rot``, ``reuploading`` and ``strongly_entangling``; see ``Work`` in ``worker.py``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import nn

from pipeline.bench.race.rival import FOLDER_OF_FASTQML
from pipeline.bench.race.worker import LEARNING_RATE, Work
from pipeline.quantum.torch_layer import TorchLayer


def qnode(work: Work, device: str, **options: Any) -> qml.QNode:
    """The circuit, with ⟨Z⟩ of every wire, on a PennyLane device made with these options."""
    wires = range(work.qubits)

    def rotations(inputs: torch.Tensor) -> None:
        for wire in wires:
            qml.RY(inputs[..., wire], wires=wire)

    def circuit(inputs: torch.Tensor, q_params: torch.Tensor) -> list[Any]:
        if work.kind != "reuploading":
            rotations(inputs)
        if work.kind == "strongly_entangling":
            qml.StronglyEntanglingLayers(q_params, wires=wires)
        else:
            for layer in range(work.depth):
                if work.kind == "reuploading":
                    rotations(inputs)
                for wire in wires:
                    qml.Rot(q_params[layer, wire, 0], q_params[layer, wire, 1], q_params[layer, wire, 2], wires=wire)
                for wire in wires[:-1]:
                    qml.CNOT(wires=[wire, wire + 1])
        return [qml.expval(qml.PauliZ(wire)) for wire in wires]

    method = "adjoint" if device.startswith("lightning") else "backprop"
    return qml.QNode(circuit, qml.device(device, wires=work.qubits, **options), interface="torch", diff_method=method)


class LayerTask:
    """Forward and backward of a layer; of ``strongly_entangling`` with a step of torch's Adam.

    Args:
        work: The piece of work.
        layer: A module with parameters ``q_params``, from inputs to ⟨Z⟩ of every wire.
        dtype: Of inputs and weights.
    """

    units = 1

    def __init__(self, work: Work, layer: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        arrays = {name: torch.from_numpy(values).to(dtype) for name, values in work.arrays().items()}
        self.layer = layer.to(dtype)
        self.weights = layer.get_parameter("q_params")
        self.weights.data = arrays["q_params"]
        self.angles, self.upstream = arrays["angles"], arrays["upstream"]
        self.optimizer = None
        if work.kind == "strongly_entangling":
            self.optimizer = torch.optim.Adam([self.weights], lr=LEARNING_RATE, fused=True)
        else:
            self.angles.requires_grad_()

    def __call__(self) -> tuple[torch.Tensor, ...]:
        """Values and gradients: for inputs and weights, or, of a step, for the weights alone."""
        values = self.layer(self.angles)
        if self.optimizer is None:
            return values.detach(), *torch.autograd.grad(values, (self.weights, self.angles), self.upstream)
        self.optimizer.zero_grad()
        values.backward(self.upstream)
        self.optimizer.step()
        assert self.weights.grad is not None
        return values.detach(), self.weights.grad

    def results(self, _first: Any, second: tuple[torch.Tensor, ...]) -> dict[str, Any]:
        """See :class:`pipeline.bench.race.worker.Task`."""
        return dict(zip(("values", "q_params", "angles"), second, strict=False))


class FastQML(nn.Module):
    """The circuit in fastQML: a layer of rotations, and of CNOTs on distinct wires, is one dense matrix."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        sys.path.append(str(FOLDER_OF_FASTQML))
        from fastqml import gate_fusion  # type: ignore[import-not-found]

        self.gates, self.work = gate_fusion, work
        self.q_params = nn.Parameter(torch.empty(work.depth, work.qubits, 3))
        bits = torch.arange(2**work.qubits) >> torch.arange(work.qubits - 1, -1, -1)[:, None] & 1
        self.signs = (1 - 2 * bits).float().T
        self.start = torch.zeros(work.batch, *[2] * work.qubits)
        self.start.view(work.batch, -1)[:, 0] = 1

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """⟨Z⟩ of every wire, shape (B, qubits)."""
        work, gates = self.work, self.gates
        real, imaginary = self.start, torch.zeros_like(self.start)
        for layer in range(work.depth):
            if layer == 0 or work.kind == "reuploading":
                real, imaginary = gates.apply_per_batch_su2_chain(real, imaginary, *gates.build_ry_per_batch(inputs))
            rotations = gates.build_rot_gates(*self.q_params[layer].unbind(1))
            real, imaginary = gates.apply_su2_layer(real, imaginary, *rotations)
            for plan in gates.compute_two_qubit_plans(_cnots(work, layer), work.qubits, "cpu", torch.float32):
                matrices = gates.build_cnot_4x4(plan["n_pairs"], "cpu", torch.float32)
                real, imaginary = gates.apply_disjoint_two_qubit_layer(real, imaginary, plan, *matrices)
        return (real.square() + imaginary.square()).reshape(work.batch, -1) @ self.signs


def _cnots(work: Work, layer: int) -> list[tuple[int, int]]:
    n = work.qubits
    if work.kind != "strongly_entangling":
        return [(wire, wire + 1) for wire in range(n - 1)]
    reach = layer % max(1, n - 1) + 1
    return [(wire, (wire + reach) % n) for wire in range(n)]


def reference(work: Work, device: str) -> LayerTask:
    """The ordinary QNode in float64."""
    return LayerTask(work, _layer(qml.qnn.TorchLayer, work, device), torch.float64)


def ordinary(work: Work) -> LayerTask:
    """PennyLane's layer on default.qubit, a batch broadcast, gradients by backpropagation."""
    return LayerTask(work, _layer(qml.qnn.TorchLayer, work))


def fastqml(work: Work) -> LayerTask:
    """fastQML, in eager torch."""
    return LayerTask(work, FastQML(work))


def ours(work: Work) -> LayerTask:
    """Our layer around the same QNode.

    Raises:
        RuntimeError: If it falls back to the QNode, which is another rival.
    """
    return _checked(work, _layer(TorchLayer, work))


def ours_single(work: Work) -> LayerTask:
    """The same with states in complex64, the precision of the peers."""
    return _checked(work, _layer(TorchLayer, work, "lightning.qubit", c_dtype=np.complex64))


def _checked(work: Work, layer: TorchLayer) -> LayerTask:
    task = LayerTask(work, layer)
    layer(task.angles)
    if layer.fallback_reason is not None:
        raise RuntimeError(f"runs as an ordinary QNode, because {layer.fallback_reason}")
    return task


def _layer(kind: type[qml.qnn.TorchLayer], work: Work, device: str = "default.qubit", **options: Any) -> Any:
    return kind(qnode(work, device, **options), {"q_params": (work.depth, work.qubits, 3)})
