"""pipeline.heads.idle: weights without a gradient are those whose every derivative PennyLane finds to be zero."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch

from pipeline.heads.config import HeadsConfig
from pipeline.heads.dressed import DressedQuantumNet
from pipeline.heads.idle import idle_weights
from pipeline.heads.listing import list_heads
from pipeline.heads.registry import HEADS, new_head
from pipeline.quantum.circuits import CIRCUITS
from pipeline.training.config import TrainConfig


def found_for(circuit, **sizes):
    return idle_weights(DressedQuantumNet(8, 2, circuit=circuit, simulator="dense", **sizes).compiled)


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_they_are_those_whose_whole_jacobian_is_zero(circuit):
    head = DressedQuantumNet(8, 2, n_qubits=3, depth=2, circuit=circuit, simulator="dense")

    @qml.qnode(qml.device("default.qubit"), diff_method="backprop", interface="torch")
    def values(inputs, weights):
        return head.circuit(inputs, weights)

    generator = torch.Generator().manual_seed(5)
    largest = torch.zeros(len(head.q_params), dtype=torch.float64)
    for _ in range(3):
        inputs = torch.rand(head.circuit.n_inputs, generator=generator, dtype=torch.float64)
        weights = 3 * torch.randn(len(largest), generator=generator, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda w, x=inputs: torch.stack(values(x, w)), weights)
        largest = torch.maximum(largest, jacobian.abs().amax(dim=0))
    assert idle_weights(head.compiled) == tuple(np.flatnonzero(largest.numpy() < 1e-10).tolist())


def test_rotations_about_z_in_front_of_the_measurement():
    # The third angle of the last Rot on each wire, also behind CNOTs, which Z passes as a product of Zs.
    last = tuple(range(2 * 12 - 12 + 2, 24, 3))
    assert found_for("separable", n_qubits=4, depth=2) == last
    assert found_for("strongly-entangling", n_qubits=4, depth=2) == last
    assert found_for("mari", n_qubits=4, depth=6) == ()


def test_a_weight_that_no_gate_takes(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import pennylane as qml\nweight_shapes = {'weights': 4}\n"
        "def mine(inputs, weights):\n    qml.AngleEmbedding(inputs, wires=range(2))\n"
        "    qml.RY(weights[1] + weights[2], 0)\n    qml.RX(weights[3], 1)\n    qml.RZ(weights[3], 1)\n"
        "    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]\n"
    )
    assert found_for(f"{file}:mine", n_qubits=2) == (0,)


def test_only_weights_that_are_trained_count():
    counts = {
        name: new_head(TrainConfig(head=name, circuit="strongly-entangling"), 512, 2).n_idle
        for name, entry in HEADS.items()
        if entry.of_circuit or name == "mlp"
    }
    assert counts == {name: 0 if name in ("frozen", "fidelity-svm", "mlp") else 4 for name in counts}
    assert {"quantum", "ends-frozen", "sequential", "pca"} <= set(counts)
    assert new_head(TrainConfig(qubits=15, depth=1), 512, 2).n_idle is None


def test_the_list_shows_them_and_goes_on_where_a_head_can_not_be_made(capsys):
    list_heads(HeadsConfig())
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("quantum ")).split()[:4] == ["quantum", "2086", "0", "24"]
    assert next(line for line in lines if line.startswith("rbf-svm ")).split()[1:3] == ["by", "rows"]
    assert next(line for line in lines if line.startswith("strongly-entangling")).endswith(
        "72 weights, 4 of which never have a gradient"
    )
    list_heads(HeadsConfig(qubits=9, depth=1))
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("surrogate")).split(maxsplit=1)[1] == (
        "not at these sizes: --qubits is 9; --head surrogate has 3^qubits features: at most 8"
    )
    assert any(line.startswith("pca") for line in lines)
