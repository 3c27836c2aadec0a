"""The race, with stand-ins that need no library."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bench.race import worker
from pipeline.bench.race.race import Race, largest_difference
from pipeline.bench.race.rival import Entrant
from pipeline.bench.race.worker import Work

FOLDER = Path(worker.__file__).parent
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
    script.write_text(STAND_IN.format(folder=str(FOLDER)))

    def make(*names, repeats=3, limit=10.0):
        entrants = [Entrant(name, (sys.executable, str(script), name)) for name in ("reference", *names)]
        return Race(entrants[1:], entrants[0], repeats, limit, threads=1)

    return make


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
    assert large.seconds("dies") == []
    assert large.fastest(("dies", "right")) == "right"


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


def test_what_the_peers_import_is_nothing_of_ours():
    code = "import sys; import worker; print('torch' in sys.modules, 'pipeline' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert finished.stdout == "False False\n"
