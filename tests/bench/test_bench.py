"""The benchmark: its arithmetic, its race with stand-ins that need no library, and a tiny run of the real rivals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from features.util.errors import InputError
from pipeline.bench import race as races
from pipeline.bench.__main__ import BenchConfig, bench
from pipeline.bench.environment import peers_python
from pipeline.bench.race import Entrant, Race, largest_difference
from pipeline.bench.ratios import Figure, fastest, paired_ratio, summary
from pipeline.bench.table import markdown, number, render
from pipeline.bench.targets import target_rows
from pipeline.bench.worker import Work

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

STAND_IN = """
import os, sys, time
import numpy as np
sys.path.insert(0, {folder!r})
from worker import serve

class Task:
    units = 1
    def __init__(self, work, name):
        self.work, self.name, self.kept = work, name, None
        if name == "refuses" and work.qubits > 2:
            raise ValueError("no more than 2 qubits")
    def __call__(self):
        print("chatter")
        if self.work.qubits == 2 and self.work.batch == 2:
            return 1.0
        if self.name == "dies":
            os._exit(3)
        if self.name == "slow":
            time.sleep(0.3 * self.work.batch)
        if self.name == "keeps":
            self.kept = np.ones(4 << 20)
        if self.name == "frees":
            np.ones(4 << 20).sum()
        return 1.001 if self.name == "wrong" else 1.000001
    def results(self, first, second):
        return dict(values=[[0.5, second]])

serve(lambda work: Task(work, sys.argv[1]), ("numpy",))
"""


@pytest.fixture
def race(tmp_path):
    """A race of stand-ins with these names."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN.format(folder=str(Path(races.__file__).parent)))

    def make(*names, repeats=3, limit=10.0):
        entrants = [Entrant(name, (sys.executable, str(script), name)) for name in ("reference", *names)]
        return Race(entrants[1:], entrants[0], repeats, limit, threads=1)

    return make


def test_medians_and_paired_ratios():
    assert summary([]) is None
    assert summary([4.0]) == Figure(4.0, 4.0, 4.0)
    assert summary([5.0, 1.0, 2.0, 4.0, 3.0]) == Figure(3.0, 2.0, 4.0)
    # The machine was 10 times slower in the last rounds: every pair still has ratio 2 but one.
    assert paired_ratio([2, 4, 20, 30, 20], [1, 2, 10, 10, 10]) == Figure(2.0, 2.0, 2.0)
    assert paired_ratio([3.0, 5.0], [1.0, 1.0, 1.0]) == Figure(4.0, 3.5, 4.5)
    assert paired_ratio([], [1.0]) is None


def test_largest_difference_is_relative_to_the_largest_entry():
    assert largest_difference({"a": [1.0, 4.0]}, {"a": [1.0, 4.0], "b": 0}) == (0.0, "")
    assert largest_difference({"a": [1.0, 4.0], "b": [8.0, 1.0]}, {"a": [1.0, 4.0], "b": [8.0, 2.0]}) == (0.125, "b")
    for wrong in ({}, {"a": [1.0]}, {"a": [1.0, float("nan")]}, {"c": [1.0, 2.0]}):
        assert largest_difference(wrong, {"a": [1.0, 2.0]})[0] == float("inf")


def test_rivals_take_turns_and_wrong_ones_are_caught(race):
    with race("right", "wrong", "dies", "refuses") as four:
        small, large = four.run(Work("circuit", 2, 3)), four.run(Work("circuit", 3, 3))
    assert {name: outcome.status for name, outcome in small.outcomes.items()} == {
        "right": "timed",
        "wrong": "wrong",
        "dies": "failed",
        "refuses": "timed",
    }
    assert small.outcomes["wrong"].note == "its values differ from the reference by 1.0e-03 of their largest entry"
    assert small.outcomes["wrong"].seconds == []
    assert small.outcomes["dies"].note == "its process died of exit code 3"
    assert [len(small.outcomes["right"].seconds), len(small.outcomes["right"].calls)] == [3, 3]
    assert small.outcomes["right"].error < 1e-9
    assert (large.outcomes["refuses"].status, large.outcomes["refuses"].note) == ("skipped", "no more than 2 qubits")
    assert large.outcomes["dies"].note == "as at 2 qubits, batch 3: its process died of exit code 3"
    assert set(large.record()) == CELL_KEYS
    assert set(large.record()["rivals"]["right"]) == OUTCOME_KEYS


def test_without_a_reference_nothing_is_timed(race, tmp_path):
    with race("right") as two:
        two.reference.entrant = Entrant("reference", (sys.executable, str(tmp_path / "stand_in.py"), "dies"))
        two.reference.end()
        outcome = two.run(Work("circuit", 3, 3)).outcomes["right"]
    note = "nothing to compare it with: the reference fails: its process died of exit code 3"
    assert (outcome.status, outcome.note) == ("skipped", note)


def test_slow_rivals_take_part_in_fewer_rounds_or_not_at_all(race):
    with race("right", "slow", repeats=5, limit=1.78) as two:
        cells = [two.run(Work("step", 3, batch)) for batch in (1, 4, 8)]
    rounds = [{name: len(outcome.seconds) for name, outcome in cell.outcomes.items()} for cell in cells]
    assert rounds == [{"right": 5, "slow": 3}, {"right": 5, "slow": 0}, {"right": 5, "slow": 0}]
    assert cells[1].outcomes["slow"].note == "two calls of about 1 s, from 3 qubits, batch 1; --limit is 1.78 s"
    assert cells[2].outcomes["slow"].note.startswith("as at 3 qubits, batch 4: two calls")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's high-water mark of memory")
def test_peak_memory_is_each_rivals_own(race):
    with race("right", "keeps", "frees") as three:
        outcomes = three.run(Work("step", 3, 3)).outcomes
    array = 32 * 2**20
    assert outcomes["right"].bytes < array / 8
    # While its second array comes into being, the first is still there.
    assert array * 1.9 < outcomes["keeps"].bytes < array * 2.2
    assert array * 0.9 < outcomes["frees"].bytes < array * 1.2


def a_record(**rivals):
    outcomes = {
        name: {"status": "timed", "note": "", "seconds": seconds, "bytes": 2**20, "first_seconds": 1.0}
        for name, seconds in rivals.items()
    }
    return {
        "peers": False,
        "complete": True,
        "config": {"threads": 1, "depth": 6, "repeats": 3},
        "machine": {"processor": "A", "cores": 2, "memory_bytes": 2**34, "system": "Linux"},
        "versions": {"torch": "2"},
        "cells": [{"kind": "step", "qubits": 4, "batch": 4, "rivals": outcomes}],
        "training": [],
        "targets": [],
        "left_out": {},
    }


def test_targets_are_met_or_missed_or_not_measured():
    record = a_record(ours_lightning=[3.0, 3.0], ours_dense=[1.0, 2.0], floor=[2.0, 2.0], ours_100_heads=[12.0, 12.0])
    rows = {row["what"]: row for row in target_rows(record)}
    assert len(rows) == 28 - 2  # all but the two of whole training runs
    over_floor = rows["step over the floor, 4 qubits, batch 4"]
    assert (over_floor["figure"], over_floor["target"], over_floor["met"]) == (1.5, 1.5, True)
    heads = rows["a step of 100 heads together over that of one"]
    assert (heads["figure"], heads["met"]) == (4.0, False)
    assert rows["step over the floor, 4 qubits, batch 32"]["met"] is None

    peers = a_record(ours_lightning=[3.0, 3.0], ours_dense=[1.0, 2.0], tensorcircuit=[2.0, 2.0]) | {"peers": True}
    assert fastest(peers["cells"][0], ("ours_lightning", "ours_dense")) == "ours_dense"
    first = target_rows(peers)[0]
    assert first["what"] == "step over TensorCircuit-NG's, 4 qubits, batch 4 (dense)"
    assert (first["figure"], first["met"]) == (0.75, True)


def test_tables_line_up_and_tell_what_is_missing():
    assert [number(x) for x in (0, 0.0123, 0.5, 9.994, 9.996, 99.96, 1234.5)] == [
        "0",
        "0.012",
        "0.50",
        "9.99",
        "10.0",
        "100",
        "1,234",
    ]
    assert markdown([["a", "b"], ["long", "1"]]) == "| a    |   b |\n| ---- | --: |\n| long |   1 |"
    record = a_record(ours_lightning=[0.001, 0.002, 0.003], floor=[0.001, 0.001, 0.001])
    outcome = {"status": "skipped", "note": "too slow", "seconds": [], "bytes": None}
    record["cells"][0]["rivals"]["demo_loop"] = outcome
    text = render(record)
    assert "| ours, lightning                         |    2.00 |" in text
    assert "| demo's loop over samples, default.qubit | skipped |" in text
    assert "- step, 4 qubits, batch 4, demo's loop over samples, default.qubit: skipped, too slow" in text


def test_quick_run_leaves_exactly_its_files(tmp_path, capsys):
    bench(BenchConfig(quick=True, out=tmp_path / "bench", rivals=("default_qubit", "ours_lightning")))
    assert {file.name for file in (tmp_path / "bench").iterdir()} == {"bench.json", "bench.md", "bench.png"}
    record = json.loads((tmp_path / "bench/bench.json").read_text())
    assert set(record) == RECORD_KEYS
    assert record["complete"]
    assert {"torch", "pennylane"} < set(record["versions"])
    assert [(cell["kind"], cell["qubits"], cell["batch"]) for cell in record["cells"]] == [
        (kind, 2, batch) for kind in ("circuit", "step") for batch in (2, 3)
    ]
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
        bench(BenchConfig(out=tmp_path, rivals=("floor",)))
    record = json.loads((tmp_path / "bench.json").read_text())
    assert set(record) == RECORD_KEYS
    assert not record["complete"]
    assert "Stopped early" in (tmp_path / "bench.md").read_text()


def test_bad_flags_say_what_is_allowed(tmp_path):
    with pytest.raises(InputError, match=r"--rivals has nobody; choose of demo_loop, .*floor"):
        bench(BenchConfig(out=tmp_path, rivals=("nobody",)))
    with pytest.raises(ValueError, match=r"--repeats is 0; it must be 1 or more; --limit is 0; it must be more than 0"):
        BenchConfig(repeats=0, limit=0)


@pytest.mark.skipif(peers_python() is None, reason="no .venv-peers here; `make bench-peers` makes it")
def test_quick_run_against_peers(tmp_path):
    bench(BenchConfig(quick=True, peers=True, out=tmp_path, rivals=("jax_dense", "jax_dense_scan", "tensorcircuit")))
    assert {file.name for file in tmp_path.iterdir()} == {"peers.json", "peers.md", "peers.png"}
    record = json.loads((tmp_path / "peers.json").read_text())
    for cell in record["cells"]:
        assert {name: outcome["status"] for name, outcome in cell["rivals"].items()} == {
            "tensorcircuit": "timed",
            "jax_dense": "timed",
            "jax_dense_scan": "timed",
        }


def test_what_the_peers_import_is_nothing_of_ours():
    folder = Path(races.__file__).parent
    code = "import sys; import worker; print('torch' in sys.modules, 'pipeline' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert finished.stdout == "False False\n"
