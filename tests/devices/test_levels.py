import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from features.cache.packaged import PACKAGED
from features.cache.store import read_features
from features.cache.writer import write_features
from features.util.errors import InputError
from pipeline.cli import main
from pipeline.devices.levels import evaluate_on
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.report import summary, write_report
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.training.run import load_run
from pipeline.util.records import to_record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the packaged features, judged by 39 of the 153 pictures: density matrices take their time."""
    folder = tmp_path_factory.mktemp("trained")
    packaged = read_features(PACKAGED)
    val = replace(packaged.val, **{name: getattr(packaged.val, name)[::4] for name in ("features", "labels", "paths")})
    write_features(folder / "features.h5", packaged.provenance, {"train": packaged.train, "val": val})
    train(TrainConfig(features=folder / "features.h5", out=folder / "run", epochs=2, batch=16, lr=4e-3))
    return folder / "run"


@pytest.fixture
def config(trained):
    return EvalConfig(run=trained)


@pytest.fixture(scope="module")
def val(trained):
    return read_features(trained.parent / "features.h5").val


def test_without_these_flags_there_is_no_device(config):
    report = evaluate(config)
    assert report.record.devices is None
    write_report(report)
    assert "devices.png" not in json.loads((config.run / "report.json").read_text())["pictures"]


@pytest.mark.parametrize("device", ["default.qubit", "default.mixed", "lightning.qubit"])
def test_without_noise_and_shots_the_figures_are_the_exact_ones(config, device):
    record = evaluate(replace(config, q_device=device)).record
    last, found = record.epochs.last, record.devices
    assert found.device == device
    assert found.noise_model == "no channels in the circuit"
    (level,) = found.levels
    for figures in (found.exact, level):
        assert {name: getattr(figures, name) for name in vars(found.exact)} == {
            name: getattr(last, name) for name in vars(found.exact)
        }
    assert level.loss == pytest.approx(last.loss, abs=1e-6)
    assert level.agreement.same == level.agreement.total == 39
    assert level.mean_shift < 1e-6
    assert (level.noise, level.shots) == ({}, None)


def test_every_noise_meets_every_number_of_shots(config):
    config = replace(config, noise=("none", "depolarizing=0.02,readout=0.01"), shots=(0, 64))
    found = evaluate(config).record.devices
    assert (found.device, found.seed, found.options) == ("default.mixed", 42, {})
    assert found.noise_model.startswith("after every gate, ")
    noisy = {"depolarizing": 0.02, "readout": 0.01}
    assert [(level.noise, level.shots) for level in found.levels] == [({}, None), ({}, 64), (noisy, None), (noisy, 64)]
    shifts = [level.mean_shift for level in found.levels]
    assert shifts[0] < 1e-6 < shifts[1] < shifts[2]
    record = to_record(found)
    names = {"noise", "shots", "accuracy", "correct", "total", "wilson95", "loss", "agreement", "mean_shift", "seconds"}
    assert all(set(row) == names for row in record["levels"])
    assert json.loads(json.dumps(record)) == record


def test_the_same_command_draws_the_same(config):
    config = replace(config, shots=(16, 32))
    first, again = (evaluate(config).record.devices.levels for _ in range(2))
    assert [replace(level, seconds=0.0) for level in first] == [replace(level, seconds=0.0) for level in again]


def test_shots_alone_run_on_default_qubit(config):
    found = evaluate(replace(config, shots=(100,))).record.devices
    assert (found.device, found.levels[0].shots) == ("default.qubit", 100)


def test_options_reach_the_device_as_python_values(config):
    config = replace(config, q_device="default.mixed", shots=(8,), q_device_options=("seed=5", "wires=6"))
    found = evaluate(config).record.devices
    assert found.seed == 5
    assert found.options == {"seed": "5", "wires": "6"}


def test_the_report_has_the_picture_and_takes_it_away_again(config):
    report = evaluate(replace(config, noise=("depolarizing=0", "depolarizing=0.1"), shots=(0, 32)))
    write_report(report)
    record = json.loads((config.run / "report.json").read_text())
    low = min(row["accuracy"] for row in record["devices"]["levels"])
    assert f"{low:.3f} (95 % interval" in record["pictures"]["devices.png"]
    with Image.open(config.run / "devices.png") as picture:
        assert min(picture.size) > 100
    lines = summary(report.record).splitlines()
    start = lines.index("The last epoch's head on default.mixed:")
    assert [line.split()[:2] for line in lines[start + 2 : start + 6]] == [
        ["depolarizing=0", "exact"],
        ["depolarizing=0", "32"],
        ["depolarizing=0.1", "exact"],
        ["depolarizing=0.1", "32"],
    ]
    write_report(evaluate(config))
    assert not (config.run / "devices.png").exists()


def test_a_device_without_a_seed_is_said_to_have_none(config):
    report = evaluate(replace(config, q_device="null.qubit", shots=(8,)))
    assert report.record.devices.seed is None
    assert "null.qubit takes no seed" in summary(report.record)


def test_a_head_without_circuit_is_refused(tmp_path, feature_file):
    train(TrainConfig(features=feature_file, out=tmp_path / "run", epochs=1, head="linear"))
    feature_file.unlink()
    with pytest.raises(
        InputError, match=r"is 'linear', which has no circuit to run on a device; leave out --q-device, --s"
    ):
        evaluate(EvalConfig(run=tmp_path / "run", shots=(10,)))


# A device made in Python ----------------------------------------------------------------------------------------------


def test_a_device_made_in_python_is_evaluated_too(trained, val):
    import pennylane as qml

    head = load_run(trained).head()
    device = qml.device("default.mixed", wires=4, seed=1)
    found = evaluate_on(head, val.features, val.labels, device=device, shots=200, noise="readout=0.02")
    assert (found.device, found.seed, found.options) == ("default.mixed", None, {})
    (level,) = found.levels
    assert (level.noise, level.shots, level.total) == ({"readout": 0.02}, 200, len(val.labels))
    with pytest.raises(InputError, match=r"contain wires not found"):
        evaluate_on(head, val.features, val.labels, device=qml.device("default.qubit", wires=2))
    with pytest.raises(ValueError, match="features have shape"):
        evaluate_on(head, val.features[:, :8], val.labels, device="default.qubit")


# qiskit-ibm-runtime deprecates a part of itself that it still loads.
@pytest.mark.filterwarnings("ignore:.*IBMFractionalTranslationPlugin is deprecated:DeprecationWarning")
def test_the_device_of_ibms_processors_runs_on_a_snapshot_of_one(trained, val):
    pytest.importorskip("pennylane_qiskit", reason="needs the extra qiskit")
    import pennylane as qml
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    device = qml.device("qiskit.remote", wires=4, backend=FakeManilaV2())
    head = load_run(trained).head()
    found = evaluate_on(head, val.features[:6], val.labels[:6], device=device, shots=500)
    (level,) = found.levels
    assert (level.shots, level.total) == (500, 6)
    # Its noise is far more than the scatter of 500 shots, and far less than all.
    assert 0.05 < level.mean_shift < 0.5


def test_noise_moves_the_logits_as_far_as_the_layer_behind_the_circuit_says(trained, val):
    # Readout alone shrinks every ⟨Z⟩ by 1 − 2p, whatever the head: so the mean shift is 2p · mean |⟨Z⟩|.
    head = load_run(trained).head()
    found = evaluate_on(head, val.features, val.labels, device="default.mixed", noise="readout=0.1")
    with torch.inference_mode():
        values = head.expectation_values(head.angles(torch.from_numpy(val.features))).numpy()
    assert found.levels[0].mean_shift == pytest.approx(0.2 * np.abs(values).mean(), rel=1e-5)


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, trained):
    """``eval`` in this process: flags in, exit code out."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pipeline", "eval", "--run", str(trained), *arguments])
        return main()

    return run


def test_the_command_prints_a_row_a_level(command, capsys, trained):
    flags = (
        "--shots 64 0 --noise none depolarizing=0.02,readout=0.01 --q-device default.mixed --q-device-options seed=3"
    )
    assert command(*flags.split()) == 0
    printed = capsys.readouterr().out
    assert "The last epoch's head on default.mixed seed=3:" in printed
    assert [row["shots"] for row in json.loads((trained / "report.json").read_text())["devices"]["levels"]] == [
        64,
        None,
        64,
        None,
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--shots -1", "error: --shots has -1; each must be 0 or more"),
        (
            "--noise readout=2 bit=1",
            "error: 2 mistakes: --noise readout=2 has readout 2; it is a probability, from 0 to 1 --noise bit=1",
        ),
        ("--q-device default.qubit --q-device-options a", "--q-device-options has 'a'; write KEY=VALUE"),
        ("--q-device default.qubit --q-device-options shots=3", "--q-device-options has shots=3; give --shots instead"),
        ("--q-device-options seed=3", "--q-device-options are given without --q-device; name the device"),
        ("--q-device default.mxed", "(did you mean default.mixed?)"),
        (
            "--q-device lightning.qubit --noise bit_flip=0.1",
            "need a device of density matrices: --q-device default.mixed",
        ),
        (
            "--q-device lightning.qubit --q-device-options foo=1",
            "can't be opened with --q-device-options foo=1: TypeError",
        ),
        ("--shots 9999999999999", "take fewer shots"),
    ],
)
def test_a_mistake_is_one_message_exit_code_2_and_no_new_report(command, capsys, trained, flags, message):
    before = {path.name: path.stat().st_mtime_ns for path in trained.iterdir()}
    assert command(*flags.split()) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert {path.name: path.stat().st_mtime_ns for path in trained.iterdir()} == before
