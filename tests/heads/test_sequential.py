"""pipeline.heads.controls.sequential: a classical head first, then the circuit behind its first layer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from features.cache.store import read_features
from features.util.errors import InputError
from pipeline.heads.controls.sequential import SequentialNet
from pipeline.heads.registry import new_head
from pipeline.heads.stacked_dressed import stack
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.report import write_report
from pipeline.training.config import TrainConfig
from pipeline.training.epochs import Training
from pipeline.training.loop import train
from pipeline.training.multi_seed import train_epochs, train_many
from pipeline.training.names import CHECKPOINT, SPREAD
from pipeline.training.run import load_run
from pipeline.training.samples import samples_of


@pytest.fixture
def config(feature_file, tmp_path):
    return TrainConfig(
        features=feature_file, out=tmp_path / "run", head="sequential", epochs=4, batch=8, lr=0.01, lr_step=2
    )


def test_the_first_phase_is_the_classical_head_of_that_seed(config, tmp_path):
    run, classical = train(config), train(replace(config, head="classical", out=tmp_path / "classical"))
    for name, theirs in (("pre_net", "pre_net"), ("classical_net", "post_net")):
        for part in ("weight", "bias"):
            ours = run.weights["last"][f"{name}.{part}"]
            torch.testing.assert_close(ours, classical.weights["last"][f"{theirs}.{part}"], rtol=0, atol=1e-5)
    for ours, wanted in zip(run.history, classical.history, strict=False):
        assert ours.lr == wanted.lr
        assert ours.train_loss == pytest.approx(wanted.train_loss, abs=1e-5)
        assert ours.val_accuracy == wanted.val_accuracy


def test_the_second_phase_trains_the_circuit_alone(config):
    run = train(config)
    start = new_head(run.config, 512, 2).state_dict()
    quantum = new_head(replace(run.config, head="quantum"), 512, 2).state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in quantum.items())
    weights = run.weights
    for name in ("pre_net.weight", "pre_net.bias", "classical_net.weight"):
        assert torch.equal(weights["best"][name], weights["last"][name])
    for name in ("q_params", "post_net.weight"):
        assert not torch.equal(weights["last"][name], start[name])
    # A quantum head behind that very first layer, frozen, ends the same.
    head = new_head(replace(run.config, head="quantum", simulator="dense"), 512, 2)
    head.pre_net.load_state_dict({part: weights["last"][f"pre_net.{part}"] for part in ("weight", "bias")})
    head.pre_net.requires_grad_(False)
    assert run.parameters == head.n_trainable + 512 * 4 + 4
    nets, samples = stack([head]), samples_of(read_features(config.features).train)
    everything = torch.arange(len(samples.labels))[None]
    for _ in train_epochs(replace(config, head="quantum"), nets, [42], *samples, everything):
        pass
    for name, tensor in nets.head_state(0).items():
        torch.testing.assert_close(weights["last"][name], tensor, rtol=0, atol=1e-5)
    assert [epoch.lr for epoch in run.history] == [0.01, 0.01, 0.001, 0.001] * 2
    assert [epoch.epoch for epoch in run.history] == list(range(1, 9))
    assert run.epochs["best"] > 4
    assert run.epochs["last"] == 8


def test_a_trained_head_is_a_dressed_circuit(config):
    run = train(config)
    head, features = load_run(config.out).head(), torch.randn(5, 512)
    quantum = new_head(replace(run.config, head="quantum"), 512, 2)
    quantum.load_state_dict({name: run.weights["last"][name] for name in quantum.state_dict()})
    torch.testing.assert_close(head(features), quantum(features))
    torch.testing.assert_close(head.for_export()(features), quantum(features), rtol=0, atol=1e-5)


def test_the_report_shows_phases_and_weights_without_a_gradient(config):
    train(replace(config, circuit="strongly-entangling", depth=1, simulator="dense"))
    write_report(evaluate(EvalConfig(run=config.out)))
    page = (config.out / "report.html").read_text(encoding="utf-8")
    assert "A new phase of training begins with epoch 5; the best epoch is one of it." in page
    assert "2,074 trained parameters, 4 of which never have a gradient)" in page
    record = json.loads((config.out / "report.json").read_text(encoding="utf-8"))
    assert (record["parameters"], record["parameters_without_gradient"]) == (2074, 4)
    assert [part["name"] for part in record["ablations"]["parts"]] == ["mean", "shuffled", "affine", "unentangled"]


@pytest.mark.parametrize("done", [1, 4, 6])
def test_it_goes_on_where_it_was_stopped_in_either_phase(config, monkeypatch, tmp_path, done):
    straight = train(replace(config, out=tmp_path / "straight"))
    save = Training.save

    def stopped(training):
        save(training)
        if len(training.history) == done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", stopped)
        with pytest.raises(KeyboardInterrupt, match=f"saved epochs: {done}"):
            train(config)
    assert (config.out.parent / ".run.unfinished" / CHECKPOINT).is_file()
    resumed = train(replace(config, resume=True))
    for which in ("last", "best"):
        assert all(torch.equal(tensor, straight.weights[which][key]) for key, tensor in resumed.weights[which].items())
    assert resumed.epochs == straight.epochs


def test_more_epochs_are_another_head_because_the_first_phase_ends_later(config):
    train(config)
    with pytest.raises(InputError, match=r"holds another head: --epochs 4 there, 6 asked for\. Nothing was changed"):
        train(replace(config, epochs=6, resume=True))


def test_many_choose_their_best_epoch_in_the_last_phase(config):
    runs = train_many(replace(config, seeds=3))
    assert all(run.epochs["best"] > 4 and len(run.history) == 8 for run in runs)
    assert json.loads((config.out / SPREAD).read_text())["seeds"] == [42, 43, 44]
    for run in runs:
        accuracies = [epoch.val_accuracy for epoch in run.history[4:]]
        assert run.history[run.epochs["best"] - 1].val_accuracy == max(accuracies)
        assert torch.equal(run.weights["best"]["pre_net.weight"], run.weights["last"]["pre_net.weight"])


@pytest.mark.parametrize("circuit", ["iqp", "amplitude"])
def test_any_circuit(circuit):
    head = new_head(TrainConfig(head="sequential", circuit=circuit, qubits=2, depth=1), 6, 3)
    assert isinstance(head, SequentialNet)
    for phase in (0, 1):
        head.begin(phase)
        loss, logits = head.backward_cross_entropy(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
        assert logits.shape == (4, 3)
        assert torch.isfinite(loss)
        trained = {name for name, parameter in head.named_parameters() if parameter.grad is not None}
        first = {f"{name}.{part}" for name in ("pre_net", "classical_net") for part in ("weight", "bias")}
        assert trained == (first if phase == 0 else {"q_params", "post_net.weight", "post_net.bias"})
        head.zero_grad()
