"""PennyLane's demo model as its code builds it, for weights with its names: a loop over samples on default.qubit."""

from __future__ import annotations

import math

import pennylane as qml
import torch
from torch import nn
from torchvision import models


class DemoHead(nn.Module):
    """The demo's head of 4 qubits and depth 6: its layers and its circuit, written out once more."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_net = nn.Linear(512, 4)
        self.q_params = nn.Parameter(torch.zeros(24))
        self.post_net = nn.Linear(4, 2)

        @qml.qnode(qml.device("default.qubit", wires=4), interface="torch")
        def circuit(inputs, weights):
            for wire in range(4):
                qml.Hadamard(wire)
                qml.RY(inputs[wire], wire)
            for layer in weights.reshape(6, 4):
                for control in (0, 2, 1):
                    qml.CNOT([control, control + 1])
                for wire in range(4):
                    qml.RY(layer[wire], wire)
            return [qml.expval(qml.Z(wire)) for wire in range(4)]

        self.circuit = circuit

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        angles = torch.tanh(self.pre_net(features)) * math.pi / 2
        values = [torch.stack(self.circuit(row, self.q_params)).float() for row in angles]
        return self.post_net(torch.stack(values))


def demo_model() -> nn.Module:
    """ResNet18 with the demo's head, in evaluation mode, without its trained weights."""
    model = models.resnet18(weights=None)
    model.fc = DemoHead()
    return model.eval()
