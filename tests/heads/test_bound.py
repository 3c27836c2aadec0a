"""Circuits of one's own: as functions, QNodes and files; ends of one's own; runs of a file that changes."""

from __future__ import annotations

import json

import pennylane as qml
import pytest
import torch
from torch import nn

from features.util.errors import InputError
from pipeline import DressedQuantumNet
from pipeline.inference.config import EvalConfig, ExportConfig
from pipeline.inference.evaluation import evaluate
from pipeline.inference.export import export
from pipeline.report import write_report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_many
from pipeline.training.names import RECORD
from pipeline.training.run import load_run

SOURCE = """
import pennylane as qml
weight_shapes = {"weights": (2, 4, 3), "last": 1}
def mine(inputs, weights, last):
    for layer in weights:
        qml.AngleEmbedding(inputs, wires=range(4), rotation="Y")
        qml.StronglyEntanglingLayers(layer[None], wires=range(4))
    qml.RX(last, wires=0)
    return qml.probs(wires=[0, 1])
"""


def function(inputs, weights):
    qml.AngleEmbedding(inputs, wires=range(3))
    qml.BasicEntanglerLayers(weights, wires=range(3))
    return [qml.expval(qml.PauliX(0) @ qml.PauliZ(2)), qml.expval(qml.PauliY(1))]


SHAPES = {"weights": (2, 3)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_circuit.py"
    path.write_text(SOURCE)
    return path


def test_a_function_and_a_qnode_give_the_same_as_by_hand():
    torch.manual_seed(0)
    options = {"n_qubits": 3, "weight_shapes": SHAPES, "q_delta": 1.0}
    head = DressedQuantumNet(5, 3, circuit=function, **options)
    qnode = qml.QNode(function, qml.device("default.qubit", wires=3))
    other = DressedQuantumNet(5, 3, circuit=qnode, **options)
    other.load_state_dict(head.state_dict())
    features = torch.randn(4, 5)
    angles = torch.tanh(head.pre_net(features)) * torch.pi / 2
    values = torch.stack(list(qnode(angles, head.q_params.reshape(2, 3))), dim=-1).float()
    for each in (head, other):
        torch.testing.assert_close(each(features), head.post_net(values), rtol=0, atol=1e-5)


def test_ends_of_ones_own():
    front = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    head = DressedQuantumNet(5, 2, circuit=function, weight_shapes=SHAPES, pre_net=front, post_net="none")
    features = torch.randn(4, 5)
    torch.testing.assert_close(head(features), head.expectation_values(front(features)))
    bare = DressedQuantumNet(3, 2, circuit=function, weight_shapes=SHAPES, pre_net="none", post_net="none")
    assert [name for name, _ in bare.named_parameters()] == ["q_params"]
    with pytest.raises(ValueError, match=r"has 2 outputs; without a layer behind it, it must have .* classes: 5"):
        DressedQuantumNet(3, 5, circuit=function, weight_shapes=SHAPES, pre_net="none", post_net="none")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("{}/gone.py:mine", "can't be read .No such file"),
        ("{}/my_circuit.py:min", r"has no function min .did you mean mine\?."),
        ("{}/broken.py:mine", "can't be loaded: SyntaxError"),
        ("{}/script.py:mine", "can't be loaded: SystemExit: 0"),
        ("{}/shapeless.py:mine", "has no weight_shapes; give its file a line like"),
        ("{}/listed.py:mine", r"has \[2, 4\] for weight_shapes; give its file a line like"),
        ("{}/worded.py:mine", "weight_shapes has 'big'; a shape is a number or a tuple of numbers"),
        ("{}/amplitudes.py:mine", "returns complex amplitudes; return expectation values or probabilities"),
        ("{}/blind.py:mine", "blind.py:mine doesn't use its inputs, so every sample would get the same answer"),
        ("{}/other.py:mine", "takes .inputs, weights, last.; it must take inputs and the weights"),
        ("reuplouding", r"circuit is 'reuplouding'; choose one of .*did you mean reuploading\?"),
    ],
)
@pytest.mark.filterwarnings("ignore:the circuit .* runs as an ordinary QNode:RuntimeWarning")
def test_a_circuit_that_cannot_be_used_is_refused_in_a_sentence(file, wanted, message):
    (file.parent / "broken.py").write_text("def mine(:")
    (file.parent / "script.py").write_text(f"{SOURCE}\nraise SystemExit(0)\n")
    (file.parent / "shapeless.py").write_text(SOURCE.replace("weight_shapes", "shapes"))
    (file.parent / "listed.py").write_text(SOURCE.replace('{"weights": (2, 4, 3), "last": 1}', "[2, 4]"))
    (file.parent / "worded.py").write_text(SOURCE.replace('"last": 1', '"last": "big"'))
    (file.parent / "amplitudes.py").write_text(SOURCE.replace("qml.probs(wires=[0, 1])", "qml.state()"))
    (file.parent / "blind.py").write_text(SOURCE.replace("inputs, wires=range(4)", "[0.1] * 4, wires=range(4)"))
    (file.parent / "other.py").write_text(SOURCE.replace(', "last": 1', ""))
    with pytest.raises(ValueError, match=message):
        DressedQuantumNet(circuit=wanted.format(file.parent))


def test_a_mistyped_flag_says_what_was_meant():
    with pytest.raises(ValueError, match=r"--circuit is 'iqq'; choose one of .*did you mean iqp\?"):
        TrainConfig(circuit="iqq")


def test_a_run_keeps_the_text_of_its_circuit(make_feature_file, file, tmp_path):
    features = make_feature_file(tmp_path / "features.h5")
    wanted = TrainConfig(features=features, out=tmp_path / "run", epochs=1, circuit=f"{file}:mine")
    run = train(wanted)
    record = json.loads((tmp_path / "run" / RECORD).read_text())["circuit"]
    assert (record["name"], record["source"], len(record["sha256"])) == (f"{file}:mine", SOURCE, 64)
    row = torch.randn(3, 512)
    expected = run.head()(row)
    file.write_text(SOURCE.replace("qml.RX", "qml.RY"))
    with pytest.warns(UserWarning, match="has changed since; the run in .* goes on with the circuit that it recorded"):
        loaded = load_run(tmp_path / "run")
    torch.testing.assert_close(loaded.head()(row), expected)
    with pytest.raises(InputError, match=r"holds another head: the circuit's file .* has changed since"):
        train(wanted)


def test_many_heads_of_a_file_end_as_each_alone(make_feature_file, file, tmp_path):
    wanted = {"features": make_feature_file(tmp_path / "features.h5"), "epochs": 2, "circuit": f"{file}:mine"}
    for run in train_many(TrainConfig(out=tmp_path / "many", seeds=2, **wanted)):
        alone = train(TrainConfig(out=tmp_path / f"alone-{run.config.seed}", seed=run.config.seed, **wanted))
        # Adam turns rounding errors into steps where a gradient vanishes; what the head computes does not see those.
        torch.testing.assert_close(run.head()(torch.ones(1, 512)), alone.head()(torch.ones(1, 512)), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("circuit", ["file", "amplitude"])
def test_report_noise_and_export_take_another_circuit(picture_features, file, tmp_path, circuit):
    circuit = f"{file}:mine" if circuit == "file" else circuit
    train(TrainConfig(features=picture_features, out=tmp_path / "run", epochs=1, depth=1, circuit=circuit))
    noise = ("depolarizing=0.01",) if circuit != "amplitude" else ()
    shots = () if noise else (100,)
    report = evaluate(EvalConfig(run=tmp_path / "run", noise=noise, shots=shots))
    write_report(report)
    assert {"circuit.png", "devices.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert circuit in (tmp_path / "run" / "report.html").read_text()
    export(ExportConfig(run=tmp_path / "run"))
    assert (tmp_path / "run" / "model.onnx").exists()
