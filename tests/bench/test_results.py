"""What is made of a race's samples: ratios, tables, targets."""

from pathlib import Path

import pytest

from features.util.errors import InputError
from pipeline.bench.config import BenchConfig
from pipeline.bench.environment import machine
from pipeline.bench.quartiles import Quartiles, number, paired_ratio, quartiles
from pipeline.bench.race.outcome import Cell, Outcome
from pipeline.bench.race.worker import Work
from pipeline.bench.results import EXAMPLES, Results, is_figure
from pipeline.bench.stages import extraction, hybrid
from pipeline.bench.stages.wholerun import TrainingTimes
from pipeline.bench.table import render
from pipeline.bench.targets import Reached, Target, judge, read_targets, targets_table

OURS = Path(__file__).with_name("targets.csv")


def results(*cells, peers=False):
    return Results(
        created="",
        config=BenchConfig(peers=peers),
        repeats=3,
        machine=machine(),
        left_out={},
        complete=True,
        cells=list(cells),
    )


def cell(kind="step", qubits=4, batch=4, mebibytes=1, **rivals):
    outcomes = {name: Outcome(seconds=seconds, bytes=mebibytes * 2**20) for name, seconds in rivals.items()}
    return Cell(Work(kind, qubits, batch), outcomes)


def test_medians_and_paired_ratios():
    assert quartiles([]) is None
    assert quartiles([4.0]) == Quartiles(4.0, 4.0, 4.0)
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == Quartiles(3.0, 2.0, 4.0)
    # The machine was 10 times slower in the last rounds: every pair still has ratio 2 but one.
    assert paired_ratio([2, 4, 20, 30, 20], [1, 2, 10, 10, 10]) == Quartiles(2.0, 2.0, 2.0)
    assert paired_ratio([3.0, 5.0], [1.0, 1.0, 1.0]) == Quartiles(4.0, 3.5, 4.5)
    assert paired_ratio([], [1.0]) is None


def test_figures_are_found_by_their_names():
    found = results(
        cell(ours_lightning=[3.0, 3.0], ours_dense=[1.0, 2.0], floor=[2.0, 2.0], tensorcircuit=[2.0, 2.0]),
        cell("circuit", 16, 4, ours_lightning=[1.0], mebibytes=10),
        cell("circuit", 16, 32, ours_lightning=[1.0], mebibytes=24),
    )
    found.training = [TrainingTimes(name="train", command="", wall_seconds=[5.0], training_seconds=[1.0])]
    assert all(map(is_figure, EXAMPLES))
    assert found.figure("step, 4 qubits, batch 4: ours_lightning / floor").median == 1.5
    assert found.figure("step, 4 qubits, batch 4: ours / tensorcircuit").median == 0.75
    assert found.figure("circuit, 16 qubits, batch 32: ours_lightning, MiB").median == 24
    assert found.figure("circuit, 16 qubits, batch 4 to 32: ours_lightning, MiB").median == 14
    assert found.figure("train: wall_seconds").median == 5
    for missing in (
        "step, 4 qubits, batch 32: ours_lightning / floor",
        "step, 4 qubits, batch 4: ours_lightning / jax_dense",
        "circuit, 16 qubits, batch 4 to 256: ours_lightning, MiB",
        "train --seeds 100: wall_seconds",
    ):
        assert is_figure(missing)
        assert found.figure(missing) is None
    assert not is_figure("step, 4 qubits, batch 4: ours_lightnin / floor")
    assert not is_figure("step, four qubits")


def test_targets_are_met_or_missed_or_not_measured():
    found = results(cell(ours_lightning=[3.0, 3.0], floor=[2.0, 2.0]))
    over_floor, other = "step, 4 qubits, batch 4: ours_lightning / floor", "train: wall_seconds"
    rows = judge(
        [Target(over_floor, 1.5, True), Target(over_floor, 2.0, False), Target(other, 6.0, True)], found.figure
    )
    assert rows == [
        Reached(over_floor, 1.5, True, 1.5, 1.5, 1.5, True),
        Reached(over_floor, 2.0, False, 1.5, 1.5, 1.5, False),
        Reached(other, 6.0, True),
    ]
    lines = targets_table(rows).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["met", "**missed**", "not measured"]
    found.targets = rows
    assert "### Targets" in render(found)
    assert "### Targets" not in render(results())


@pytest.mark.parametrize(
    ("benchmark", "known", "count"),
    [
        ("race", is_figure, 38),
        ("peers", is_figure, 22),
        ("extraction", extraction.FIGURES.__contains__, 4),
        ("hybrid", hybrid.FIGURES.__contains__, 4),
    ],
)
def test_this_projects_own_targets_are_on_figures_that_there_are(benchmark, known, count):
    assert len(read_targets(OURS, benchmark, known, ["x"])) == count


def test_rows_that_are_not_understood_are_told_all_at_once(tmp_path):
    file = tmp_path / "targets.csv"
    file.write_text(
        "benchmark,figure,bound\nracing,x,<= 1\nrace,train: wall_seconds,6\nrace,train: wall_second,<= 6\n"
        "hybrid,anything,>= 2\n"
    )
    with pytest.raises(InputError) as told:
        read_targets(file, "race", is_figure, EXAMPLES)
    assert [line.strip().split(";")[0] for line in str(told.value).splitlines()[1:]] == [
        "line 2: benchmark is 'racing'",
        "line 3: bound is '6'",
        "line 4: race has no figure 'train: wall_second' (did you mean train: wall_seconds?)",
    ]
    with pytest.raises(InputError, match=r"none\.csv can't be read: .*; name a CSV file of benchmark, figure, bound"):
        read_targets(tmp_path / "none.csv", "race", is_figure, EXAMPLES)


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
    one = cell(ours_lightning=[0.001, 0.002, 0.003], floor=[0.001, 0.001, 0.001])
    one.outcomes["demo_loop"] = Outcome("skipped", "too slow")
    text = render(results(one))
    assert "| ours, lightning                         |    2.00 |" in text
    assert "| demo's loop over samples, default.qubit | skipped |" in text
    assert "- step, 4 qubits, batch 4, demo's loop over samples, default.qubit: skipped, too slow" in text
