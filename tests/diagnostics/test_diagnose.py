import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from browser import accessibility_problems
from conftest import names_in

from features.config import ImportConfig
from features.exchange.importer import import_features
from features.util.errors import InputError
from features.util.flags import FlagError
from pipeline.clean import clean
from pipeline.diagnostics import diagnose as module
from pipeline.diagnostics.config import DiagnoseConfig
from pipeline.diagnostics.diagnose import diagnose, measure
from pipeline.diagnostics.figure import draw
from pipeline.diagnostics.table import document_of
from pipeline.pages.document import as_markdown
from pipeline.quantum.circuits import CIRCUITS
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.util.drawing import style

FILES = ["diagnose.html", "diagnose.json", "diagnose.md", "diagnose.png"]


@pytest.fixture
def config(tmp_path):
    return DiagnoseConfig(
        out=tmp_path / "out/diagnose", qubits=2, depth=1, samples=5, pairs=100, rows=10, grid_qubits=(1, 2, 3)
    )  # fmt: skip


def contents(folder):
    return {name: (folder / name).read_bytes() for name in names_in(folder)}


def test_all_named_circuits_are_one_table_the_same_each_time(config, capsys):
    found = diagnose(config)
    assert [each.name for each in found.circuits] == list(CIRCUITS)
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == (
        f"{config.out / 'diagnose.html'}: this with its picture, which is also diagnose.png; text in .md, all numbers "
        "in .json"
    )
    text = (config.out / "diagnose.md").read_text()
    assert text.startswith("Of 8 circuits, over random weights, ")
    assert text.partition("![")[0] in said
    assert "- amplitude, Fourier coefficients: its inputs are amplitudes, not angles." in text
    assert names_in(config.out) == FILES
    record = json.loads((config.out / "diagnose.json").read_text())
    assert [each["weights"] for each in record["circuits"]] == [2, 6, 2, 6, 6, 6, 4, 6]
    assert [each["without_effect"] for each in record["circuits"]] == [0, 2, 0, 2, 2, 2, 0, 2]
    assert all({p["depth"] for p in each["gradients"]} == {1} for each in record["circuits"])
    first = contents(config.out)
    diagnose(config)
    assert contents(config.out) == first
    assert measure(replace(config, seed=1)).circuits != found.circuits
    assert clean(config.out.parent) == []


def test_figures_of_a_circuit_do_not_depend_on_the_others(config):
    alone = measure(replace(config, circuits=("iqp",), grid_depths=(1, 2))).circuits[0]
    beside = measure(replace(config, circuits=("amplitude", "iqp"))).circuits[1]
    assert alone.dimension == beside.dimension
    assert alone.expressibility == beside.expressibility
    assert set(map(str, beside.gradients)) < set(map(str, alone.gradients))


def test_one_circuit_has_the_grid_of_gradients(config):
    found = diagnose(replace(config, circuits=("mari",), entangler="none", grid_depths=(1, 2)))
    assert [(p.qubits, p.depth) for p in found.circuits[0].gradients] == [(n, d) for d in (1, 2) for n in (1, 2, 3)]
    assert "### Variance of gradients of mari" in (config.out / "diagnose.md").read_text()
    assert found.circuits[0].entanglement.value == pytest.approx(0, abs=1e-12)


def test_the_picture_serves_dark_and_narrow_pages(config):
    found = measure(replace(config, circuits=("mari",)))
    with style():
        drawn = draw(found)
        assert set(drawn.wide) == set(drawn.narrow) == {"light", "dark"}
        assert "mari" in drawn.words


def test_a_circuit_from_a_file_has_the_sizes_that_it_has(config, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import pennylane as qml\nweight_shapes = {'weights': (2, 2)}\n"
        "def mine(inputs, weights):\n"
        "    for layer in weights:\n"
        "        for wire in range(2):\n"
        "            qml.RY(inputs[..., wire] + layer[wire], wires=wire)\n"
        "        qml.CNOT(wires=[0, 1])\n"
        "    return qml.probs(wires=[0, 1])\n"
    )
    alone = measure(replace(config, circuits=(f"{file}:mine",)))
    found = alone.circuits[0]
    with style():
        text = as_markdown(document_of(alone, draw(alone)))
    assert text.startswith("mine.py:mine (2 qubits) over random weights: ")
    assert "depth" not in text
    assert "further qubit" not in text
    assert [(p.qubits, p.depth) for p in found.gradients] == [(2, 1)]
    assert found.missing == {}
    assert found.dimension.weights == 4
    assert (found.fourier.n_reached, found.label) == (11, "mine.py:mine")
    with pytest.raises(FlagError, match=r"the circuit .*mine\.py:mine fails with --qubits 1 and --depth 1"):
        measure(replace(config, circuits=(f"{file}:mine",), qubits=1))


@pytest.fixture
def few(tmp_path):
    """For a run."""
    return DiagnoseConfig(
        run=tmp_path / "run", out=tmp_path / "out/diagnose", samples=5, pairs=100, rows=24, grid_qubits=(1, 2),
        grid_depths=(1,),
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained(make_feature_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosed")
    features = make_feature_file(folder / "features.h5")
    train(TrainConfig(features=features, out=folder / "run", epochs=2, qubits=2, depth=2))
    return folder


def test_a_trained_head_is_measured_on_its_training_rows(few, trained):
    found = diagnose(replace(few, run=trained / "run"))
    (each,) = found.circuits
    assert (each.qubits, each.depth, each.dimension.data) == (2, 2, 24)
    assert each.trained.circuit.weights == 4
    assert each.trained.head.weights == 512 * 2 + 2 + 4 + 2 * 2 + 2
    assert len(each.fourier.trained) == len(each.fourier.mean)
    assert "### At the trained weights" in (few.out / "diagnose.md").read_text()
    assert len(found.run) == 64
    other = shutil.copy(trained / "features.h5", trained / "moved.h5")
    moved = measure(replace(few, run=trained / "run", features=other))
    assert moved.circuits == found.circuits


@pytest.mark.parametrize("width", [1280, 390])
def test_its_page_is_accessible_and_fits(few, trained, browser, width):
    diagnose(replace(few, run=trained / "run"))
    with browser.page((few.out / "diagnose.html").as_uri(), dark=True, width=width) as page:
        assert accessibility_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("name", "n_classes"), [("wine", 3), ("breast_cancer", 2), ("digits", 10)])
def test_sets_that_ship_with_scikit_learn_are_rows_like_others(few, tmp_path, name, n_classes):
    rows = ImportConfig(file=Path(f"sklearn:{name}"), split=0.2, standardize=True, out=tmp_path / "rows.h5")
    features = import_features(rows)
    train(TrainConfig(features=features.path, out=tmp_path / "run", epochs=1, qubits=2, depth=1, batch=64))
    (each,) = measure(few).circuits
    assert each.trained.head.weights == (features.width + 1) * 2 + 2 + (2 + 1) * n_classes
    assert each.dimension.data > 100


def test_what_belongs_to_no_circuit_is_refused(few, trained, make_feature_file, tmp_path):
    other = make_feature_file(tmp_path / "other.h5", seed=3)
    with pytest.raises(InputError, match="other features than those the head"):
        diagnose(replace(few, run=trained / "run", features=other))
    train(TrainConfig(features=other, out=tmp_path / "classical", epochs=1, head="classical"))
    with pytest.raises(InputError, match="'classical', which has no circuit to diagnose"):
        diagnose(replace(few, run=tmp_path / "classical"))
    assert not few.out.exists()


def test_mistakes_in_flags_are_told_together():
    with pytest.raises(FlagError) as refused:
        DiagnoseConfig(circuits=("maro", "maro"), pairs=5, data=3, epoch="best")
    said = str(refused.value)
    for sentence in (
        "--pairs is 5; it must be 100 or more",
        "--data is 3; it must be 20 or more",
        "--circuits is 'maro'; choose one of mari,",
        "--circuits is maro maro; name each once",
        "--epoch is given without --run, to which it belongs",
    ):
        assert sentence in said


def test_flags_that_would_change_nothing_are_refused(tmp_path):
    with pytest.raises(FlagError) as refused:
        DiagnoseConfig(run=tmp_path, qubits=3, entangler="ring")
    assert "--qubits is 3 and --run is given; a run has its own" in str(refused.value)
    assert "--entangler is ring and --run is given; a run has its own" in str(refused.value)
    with pytest.raises(FlagError, match="--grid-depths is 1 2, which is for one circuit; name one of --circuits"):
        DiagnoseConfig(grid_depths=(1, 2))


def test_after_ctrl_c_an_earlier_diagnosis_stands(config, monkeypatch):
    config = replace(config, circuits=("mari",))
    diagnose(config)
    before = contents(config.out)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fourier", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"stopped; nothing in .* was changed"):
        diagnose(replace(config, seed=5))
    assert contents(config.out) == before
