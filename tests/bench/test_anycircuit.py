"""Other people's circuits in the race: every rival does the same work."""

import numpy as np
import pytest

from pipeline.bench.bench import CELLS, DEPTHS
from pipeline.bench.config import BenchConfig
from pipeline.bench.race import anycircuit
from pipeline.bench.race.race import TOLERANCE, largest_difference
from pipeline.bench.race.rival import FOLDER_OF_FASTQML
from pipeline.bench.race.worker import ANY_CIRCUIT, Work


def results(task):
    return {name: np.asarray(values) for name, values in task.results(task(), task()).items()}


@pytest.mark.parametrize("kind", ANY_CIRCUIT)
def test_every_layer_gives_what_the_qnode_gives(kind):
    work = Work(kind, 3, 4, 2)
    wanted = results(anycircuit.reference(work, "default.qubit"))
    assert set(wanted) == {"values", "q_params"} | (set() if kind == "strongly_entangling" else {"angles"})
    rivals = [anycircuit.ordinary, anycircuit.ours] + [anycircuit.fastqml] * FOLDER_OF_FASTQML.is_dir()
    for rival in rivals:
        assert largest_difference(results(rival(work)), wanted)[0] < TOLERANCE


def test_an_optimiser_takes_its_step():
    task = anycircuit.ours(Work("strongly_entangling", 3, 4, 2))
    before = task.weights.detach().clone()
    task()
    step = (task.weights.detach() - before).abs()
    assert 0 < step.max() < 1e-3


def test_every_kind_has_its_sizes():
    assert set(CELLS) == set(DEPTHS) == set(ANY_CIRCUIT)
    assert set(BenchConfig().kinds) == {"circuit", "step", *ANY_CIRCUIT}
    with pytest.raises(ValueError, match="--kinds has"):
        BenchConfig(kinds=("rott",))
