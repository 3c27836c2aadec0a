"""The report as files and as text; tests/test_report_page.py opens it in a browser."""

import base64
import csv
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import names_in
from PIL import Image
from reports import with_probabilities

from features.util.errors import InputError
from pipeline.devices.results import Agreement, DeviceResults, Level
from pipeline.inference.config import EvalConfig
from pipeline.inference.evaluation import evaluate
from pipeline.report import page, standing, write_report
from pipeline.report.calibration import Bin, Calibration
from pipeline.report.examples import at_random, examples, least_sure, most_wrong
from pipeline.report.figures import FIGURES, confusions
from pipeline.report.findings import find
from pipeline.report.summary import calibration_words
from pipeline.training.config import TrainConfig
from pipeline.training.loop import train
from pipeline.util.drawing import DARK, Drawing, style
from pipeline.util.metrics import Accuracy

FILES = {"report.html", "report.json", "predictions.csv", *(f"{name}.png" for name in FIGURES)}


def test_it_leaves_a_page_figures_and_a_record(report):
    assert write_report(report) == report.run.path / "report.html"
    # Without the images there is no picture of predictions, and none of devices where none was asked for.
    assert set(names_in(report.run.path)) == FILES - {"predictions.png", "devices.png"}
    for name in names_in(report.run.path):
        if name.endswith(".png"):
            with Image.open(report.run.path / name) as picture:
                picture.load()


def test_the_earlier_report_stays_until_all_of_the_new_one_is_at_hand(report, monkeypatch):
    write_report(report)
    before = {path.name: path.read_bytes() for path in report.run.path.iterdir()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "_page", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(report)
    assert {path.name: path.read_bytes() for path in report.run.path.iterdir()} == before


def test_pictures_of_an_earlier_report_go(report):
    (report.run.path / "predictions.png").write_bytes(b"of another head")
    write_report(report)
    assert "predictions.png" not in names_in(report.run.path)


def test_the_record_holds_the_numbers_behind_the_figures(report):
    write_report(report)
    text = (report.run.path / "report.json").read_text(encoding="utf-8")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads(text, parse_constant=refuse)
    assert record["calibration"]["accuracy"] == record["epochs"]["last"]["accuracy"]
    assert sum(row["images"] for row in record["calibration"]["bins"]) == len(report.labels)
    assert set(record["projections"]) == {"tanh", "⟨Z⟩"}
    assert len(record["commands"]) == 3
    assert set(record["head_sha256"]) == {"last", "best"}
    assert record["curves"][0]["roc_auc"] == pytest.approx(record["epochs"]["last"]["scores"]["roc_auc"]["value"])
    assert set(record["pictures"]) == {"learning_curves.png", "confusion_matrix.png", "reliability.png"} | {
        "curves.png",
        "projection.png",
        "contributions.png",
        "circuit.png",
    }
    assert all(len(words) > 60 for words in record["pictures"].values())


def test_it_says_the_result_and_what_was_not_run(report):
    page = write_report(report).read_text(encoding="utf-8")
    last = report.record.epochs.last
    assert f"{last.correct} of 12 validation images are classified correctly" in page
    assert "95 % Wilson interval" in page
    assert "Not run: the whole network on the images." in page
    assert "the images of synthetic are not at" in page
    assert "The images are not at hand, so they are named here, not shown." in page
    assert "image/jpeg" not in page
    assert all(path in page for path in (report.paths[row] for row in least_sure(report)))


def test_an_evaluation_that_fails_leaves_nothing(report, monkeypatch):
    def fail(_):
        raise InputError("no")

    monkeypatch.setitem(FIGURES, "circuit", fail)
    with pytest.raises(InputError):
        write_report(report)
    assert names_in(report.run.path) == []


# Which images are shown ----------------------------------------------------------------------------------------------


def test_the_choice_of_images(report):
    chosen = with_probabilities(
        report,
        [[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.48, 0.52], [0.05, 0.95]],
        [0, 1, 0, 0, 0, 1],
    )
    assert most_wrong(chosen).tolist() == [1, 3, 4]
    assert least_sure(chosen).tolist() == [4, 2, 3, 0, 1, 5]
    assert sorted(at_random(chosen)) == list(range(6))
    shown = examples(find(chosen))
    wrong = shown.wrong[0][0]
    assert wrong.words == "1.png: true class red, predicted blue with probability 90.0\u00a0%, wrong"
    assert (wrong.picture, wrong.right, len(wrong.values)) == (None, False, 4)
    assert wrong.true_probability == pytest.approx(0.1)
    # Each image is shown once.
    assert [each.row for each in shown.least_sure] == [2, 0, 5]
    assert shown.at_random == []


def test_of_many_images_a_dozen_is_shown(report):
    rng = np.random.default_rng(0)
    many = with_probabilities(report, rng.dirichlet([1, 1], 200), rng.integers(0, 2, 200))
    shown = examples(find(many))
    assert [len(shown.wrong[0]), len(shown.least_sure), len(shown.at_random)] == [12, 12, 12]
    rows = [each.row for part in (*shown.wrong, shown.least_sure, shown.at_random) for each in part]
    assert len(rows) == len(set(rows))
    # Every error can be browsed.
    assert sum(map(len, shown.wrong)) == shown.n_wrong == len(most_wrong(many))
    margins = np.abs(many.probabilities[:, 0] - many.probabilities[:, 1])
    assert margins[least_sure(many)[:12]].max() <= np.sort(margins)[11]


def test_predictions_hold_every_image(report):
    write_report(report)
    with (report.run.path / "predictions.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["image"] for row in rows] == list(report.paths)
    classes = report.run.classes
    assert [row["true class"] for row in rows] == [classes[label] for label in report.labels]
    shares = [[float(row[f"probability of {name}"]) for name in classes] for row in rows]
    assert np.allclose(shares, report.probabilities, atol=1e-6)


def test_heat_maps_need_the_images(cached_report):
    with pytest.raises(InputError, match=r"--explain draws where the network looks on the images, and .* not at"):
        evaluate(replace(cached_report.config, explain=True))


def test_the_home_folder_is_written_only_when_asked(report, monkeypatch):
    monkeypatch.setenv("HOME", str(report.run.config.features.parent))
    place = str(report.run.config.features)
    hidden = write_report(report).read_text(encoding="utf-8")
    assert place not in hidden
    assert "~/features.h5" in hidden
    shown = write_report(replace(report, config=replace(report.config, full_paths=True))).read_text(encoding="utf-8")
    assert place in shown


def test_a_linear_layer_and_other_seeds_stand_beside_the_run(report):
    found = find(report).standing
    assert found.classical.total == len(report.labels)
    own = report.record.epochs.last.accuracy
    assert found.difference == pytest.approx(own - found.classical.accuracy)
    assert found.difference95[0] <= found.difference <= found.difference95[1]
    assert len(found.seeds) == len(found.accuracies) == 20
    assert found.below == sum(each < own - 1e-12 for each in found.accuracies)
    record = json.loads((write_report(report).parent / "report.json").read_text(encoding="utf-8"))
    assert record["standing"]["seeds"] == found.seeds
    page = (report.run.path / "report.html").read_text(encoding="utf-8")
    assert "One linear layer, trained on the same rows" in page
    assert "20 further seeds of this head reach" in page


def test_what_would_take_too_long_is_told_not_done(report, monkeypatch):
    monkeypatch.setattr(standing, "LONGEST", 1e-6)
    of_a_quick_run = replace(report, run=replace(report.run, seconds=0.0))
    page = write_report(of_a_quick_run).read_text(encoding="utf-8")
    assert "Nothing was trained beside this head: 1 of them would take" in page
    record = json.loads((report.run.path / "report.json").read_text(encoding="utf-8"))
    assert "is not spent here" in record["standing"]["not_run"]


def test_a_seed_trained_beside_the_run_ends_as_if_trained_alone(report, tmp_path):
    seeds, accuracies = (getattr(find(report).standing, name) for name in ("seeds", "accuracies"))
    alone = train(replace(report.run.config, seed=seeds[3], out=tmp_path / "alone"))
    assert accuracies[3] == pytest.approx(alone.history[-1].val_accuracy)


# The head, the classes -----------------------------------------------------------------------------------------------


def test_every_image_right_and_a_class_without_images(report):
    page = write_report(with_probabilities(report, [[0.9, 0.1]] * 3, [0, 0, 0])).read_text(encoding="utf-8")
    assert "None: every validation image is classified correctly." in page
    row = re.search(r'<th scope="row">red</th>(.*?)</tr>', page)
    assert re.findall(r">([^<]+)</td>", row[1]) == ["–", "–", "–", "0"]


@pytest.mark.parametrize(
    ("flags", "figures", "said"),
    [
        ({"head": "linear"}, set(), None),
        ({"head": "logistic"}, set(), None),
        ({"head": "mlp"}, {"projection"}, "4 numbers an image: the outputs of tanh. "),
        ({"qubits": 1, "depth": 2}, {"projection", "circuit"}, "1 number an image: the outputs of tanh, which"),
        ({"qubits": 2, "depth": 0}, {"projection", "circuit"}, "2 numbers an image"),
        ({"head": "frozen", "qubits": 3, "depth": 1}, {"projection", "circuit"}, "3 frozen angles"),
        ({"head": "separable", "qubits": 9, "depth": 1}, {"projection", "circuit"}, "no CNOTs"),
    ],
)
def test_what_it_tells_of_the_inside_depends_on_the_head(cached_report, tmp_path, flags, figures, said):
    train(TrainConfig(features=cached_report.run.config.features, out=tmp_path, epochs=1, **flags))
    page = write_report(evaluate(EvalConfig(run=tmp_path))).read_text(encoding="utf-8")
    drawn = {name for name in ("projection", "circuit") if (tmp_path / f"{name}.png").exists()}
    assert drawn == figures
    assert ("Inside the head" in page) == bool(figures)
    if said:
        assert said in page


def test_one_image_and_images_that_are_all_alike(report):
    for n in (1, 5):
        alike = with_probabilities(report, [[0.7, 0.3]] * n, [0] * n)
        page = write_report(replace(alike, features=alike.features[:1].repeat(n, axis=0))).read_text(encoding="utf-8")
        assert f"{n} of {n} validation images are classified correctly" in page


def test_confusions_are_counted_the_most_first():
    assert confusions(np.array([[5, 1, 0], [3, 4, 0], [0, 2, 6]])) == [(3, 1, 0), (2, 2, 1), (1, 0, 1)]
    assert confusions(np.eye(3, dtype=int)) == []


def test_the_words_on_calibration_know_chance():
    bins = [
        Bin(low=0.0, high=1.0, images=images, probability=0.9, accuracy=0.95, wilson95=[0.9, 1.0])
        for images in (100, 53)
    ]
    found = Calibration(ece=0.05, mean_probability=0.9, accuracy=0.95, chance=0.04, chance95=0.06, bins=bins)
    words = calibration_words(found)
    assert "With 153 images" in words
    assert "less sure than it is right" in words
    assert words.endswith("at most 6.0\u00a0% in 95 of 100 cases: so this error can't be told from chance.")
    words = calibration_words(replace(found, ece=0.07, mean_probability=0.99))
    assert "surer than it is right" in words
    assert words.endswith("more than chance explains.")


# Figures -------------------------------------------------------------------------------------------------------------


def svg(uri):
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()


def size(uri):
    return [float(ElementTree.fromstring(svg(uri)).get(side).removesuffix("pt")) for side in ("width", "height")]


@pytest.mark.parametrize("name", ["learning_curves", "confusion_matrix", "projection", "circuit"])
def test_the_dark_figure_has_none_of_the_light_colours(report, name):
    with style():
        drawing = Drawing(*FIGURES[name](find(report)))
        light, dark = svg(drawing.wide["light"]), svg(drawing.wide["dark"])
    assert "#1f2328" in light
    for before, after in DARK.items():
        assert before in DARK.values() or before not in dark
        assert (before in light) <= (after in dark)


def test_on_a_phone_panels_stand_one_below_the_other(report):
    with style():
        drawing = Drawing(*FIGURES["learning_curves"](find(report)))
        wide, narrow = size(drawing.wide["light"]), size(drawing.narrow["light"])
    assert wide[0] == 9 * 72
    assert narrow[0] < 300
    assert narrow[1] > 1.3 * narrow[0]


def test_many_points_are_thinned_out(report):
    rng = np.random.default_rng(0)
    many = with_probabilities(report, rng.dirichlet([1, 1], 5000), rng.integers(0, 2, 5000))
    with style():
        drawing = Drawing(*FIGURES["projection"](find(many)))
        assert len(drawing.wide["light"]) < 400_000


def test_devices_are_told_of_where_they_were_tried(report):
    assert 'id="devices"' not in write_report(report).read_text(encoding="utf-8")
    right = Accuracy(accuracy=0.75, correct=9, total=12, wilson95=[0.468, 0.911])
    agreement = Agreement(same=11, total=12, wilson95=[0.65, 0.99])
    shots = Level(**vars(right), loss=0.5, mean_shift=0.01, seconds=2.0, agreement=agreement, noise={}, shots=1024)
    devices = DeviceResults(
        device="default.mixed",
        options={},
        noise_model="a depolarizing channel after each gate",
        exact=right,
        levels=[shots, replace(shots, noise={"depolarizing": 0.02}, shots=None)],
        seed=3,
    )
    page = write_report(replace(report, record=replace(report.record, devices=devices))).read_text(encoding="utf-8")
    section = re.sub(r"<[^>]+>", " ", page[page.index('<section id="devices"') :])
    assert "default.mixed" in section
    assert "Noise: a depolarizing channel after each gate. Without noise" in section
    assert re.search(r"none\s+1,024\s+75\.0\s%\s+46\.8 to 91\.1\s%\s+0\.500\s+11/12\s+0\.010\s+2\.0", section)
    assert re.search(r"depolarizing 0\.02\s+exact", section)
