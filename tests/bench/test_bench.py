"""The benchmark command on tiny work: that everything runs, and what it leaves."""

import json
import sys
from pathlib import Path

import pytest

from features.util.errors import InputError, run_command
from pipeline.bench.__main__ import main
from pipeline.bench.bench import race
from pipeline.bench.config import BenchConfig
from pipeline.bench.environment import peers_python
from pipeline.bench.race.race import Race
from pipeline.bench.race.worker import ANY_CIRCUIT
from pipeline.bench.stages import extraction, hybrid, streaming

TARGETS = Path(__file__).with_name("targets.csv")
RECORD_KEYS = {
    "format_version",
    "created",
    "complete",
    "peers",
    "config",
    "machine",
    "versions",
    "cells",
    "training",
    "targets",
    "left_out",
}
CELL_KEYS = {"kind", "qubits", "batch", "depth", "seed", "rivals"}
OUTCOME_KEYS = {
    "status",
    "note",
    "error",
    "first_seconds",
    "call_seconds",
    "bytes",
    "first_bytes",
    "seconds",
    "calls",
    "cores",
}


def test_bad_flags_say_what_is_allowed(tmp_path):
    with pytest.raises(InputError, match=r"--rivals has flor; choose of demo_loop, .* \(did you mean floor\?\)"):
        race(BenchConfig(out=tmp_path, rivals=("flor",)))
    with pytest.raises(ValueError, match="2 mistakes") as told:
        BenchConfig(repeats=0, limit=0)
    assert "--repeats is 0; it must be 1 or more" in str(told.value)
    assert "--limit is 0; it must be more than 0" in str(told.value)
    with pytest.raises(ValueError, match="--peers, --extraction, --hybrid and --streaming exclude each other"):
        BenchConfig(extraction=True, hybrid=True)


@pytest.fixture
def command(monkeypatch, tmp_path):
    def run(*flags):
        words = ["--quick", "--targets", str(TARGETS), "--out", str(tmp_path), *flags]
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        assert run_command(main) == 0
        return tmp_path

    return run


@pytest.mark.slow
def test_stage_3_is_timed_against_a_plain_network(command, random_weights):
    out = command("--hybrid", "--weights", str(random_weights))
    record = json.loads((out / "hybrid.json").read_text())
    for batch in ("1", "32"):
        seconds = record["seconds_an_image"][batch]
        assert set(seconds) == set(hybrid.LABELS)
        assert all(len(samples) == 2 and min(samples) > 0 for samples in seconds.values())
    assert max(record["differences"].values()) <= 1e-4
    assert [row["target"] for row in record["targets"]] == [1.15, 1.15, 1.05, 1.05]
    table = (out / "hybrid.md").read_text()
    assert all(label in table for label in hybrid.LABELS.values())


@pytest.mark.slow
def test_stage_1_is_timed_against_torch(command, picture_folder, random_weights):
    out = command("--extraction", "--data", str(picture_folder), "--weights", str(random_weights))
    record = json.loads((out / "extraction.json").read_text())
    assert set(record["seconds_an_image"]) == set(extraction.LABELS) - {"float16", "resident"}
    assert record["device"] == "cpu"
    assert (
        record["differences"]["network"]["max_difference"] <= 1e-5 * record["differences"]["network"]["feature_scale"]
    )
    assert len(record["peak_memory_bytes"]) == 2
    assert len(record["targets"]) == 4
    assert "Peak memory" in (out / "extraction.md").read_text()


@pytest.mark.slow
def test_stage_2_is_timed_on_rows_from_the_disk(command):
    out = command("--streaming")
    record = json.loads((out / "streaming.json").read_text())
    for size in streaming.QUICK_SIZES:
        seconds = record["seconds_a_row"][str(size)]
        assert set(seconds) == {"memory", "stream"}
        assert all(len(samples) == 2 and min(samples) > 0 for samples in seconds.values())
    assert len(record["targets"]) == 3
    assert {file.name for file in out.iterdir()} == {"streaming.json", "streaming.md"}
    assert "Reading the largest set alone" in (out / "streaming.md").read_text()


@pytest.mark.slow
def test_quick_run_leaves_exactly_its_files(tmp_path, capsys):
    race(BenchConfig(quick=True, out=tmp_path / "bench", rivals=("default_qubit", "ours_lightning"), targets=TARGETS))
    assert {file.name for file in (tmp_path / "bench").iterdir()} == {"bench.json", "bench.md", "bench.png"}
    record = json.loads((tmp_path / "bench/bench.json").read_text())
    assert set(record) == RECORD_KEYS
    assert record["complete"]
    assert {"torch", "pennylane"} < set(record["versions"])
    assert [(cell["kind"], cell["qubits"], cell["batch"]) for cell in record["cells"]] == [
        (kind, 2, batch) for kind in ("circuit", "step") for batch in (2, 3)
    ] + [(kind, 2, 3) for kind in ANY_CIRCUIT]
    for cell in record["cells"]:
        assert set(cell) == CELL_KEYS
        assert set(cell["rivals"]) == {"default_qubit", "ours_lightning"}
        for outcome in cell["rivals"].values():
            assert set(outcome) == OUTCOME_KEYS
            assert (outcome["status"], len(outcome["seconds"])) == ("timed", 2)
            assert 0 < outcome["error"] < 1e-5
            assert outcome["bytes"] > 0
    assert len(record["training"][0]["wall_seconds"]) == 1
    assert capsys.readouterr().out.rstrip().endswith("bench.json: every sample; tables in bench.md, plot in bench.png")


def test_ctrl_c_leaves_what_is_done(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Race, "run", stopped)
    with pytest.raises(KeyboardInterrupt, match="what is done"):
        race(BenchConfig(out=tmp_path, rivals=("floor",)))
    record = json.loads((tmp_path / "bench.json").read_text())
    assert set(record) == RECORD_KEYS
    assert not record["complete"]
    assert "Stopped early" in (tmp_path / "bench.md").read_text()


@pytest.mark.skipif(peers_python() is None, reason="no .venv-peers here; `make bench-peers` makes it")
def test_quick_run_against_peers(tmp_path):
    race(BenchConfig(quick=True, peers=True, out=tmp_path, rivals=("jax_dense", "jax_dense_scan", "tensorcircuit")))
    assert {file.name for file in tmp_path.iterdir()} == {"peers.json", "peers.md", "peers.png"}
    record = json.loads((tmp_path / "peers.json").read_text())
    assert {cell["kind"] for cell in record["cells"]} == {"step", "rot", "reuploading", "strongly_entangling"}
    for cell in record["cells"]:
        by_hand = ("jax_dense", "jax_dense_scan") if cell["kind"] == "step" else ()  # of the paper's circuit alone
        expected = dict.fromkeys(("tensorcircuit", *by_hand), "timed")
        assert {name: outcome["status"] for name, outcome in cell["rivals"].items()} == expected
