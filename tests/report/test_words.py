"""The metrics, and what hinders them, on the page, in ``report.json`` and in the terminal."""

import json
from dataclasses import replace

from reports import with_probabilities

from pipeline.report import summary, write_report
from pipeline.report.figures import FIGURES
from pipeline.report.words import interval, score
from pipeline.training import names
from pipeline.util.metrics import METRICS


def test_every_figure_is_known_as_ours_and_goes_with_the_run_that_it_is_of():
    assert set(FIGURES) == set(names.FIGURES)


def test_each_metric_is_written_as_people_write_it():
    assert score("accuracy", 0.928) == "92.8\u00a0%"
    assert interval("accuracy", [0.876, 0.959]) == "87.6 to 95.9\u00a0%"
    assert interval("roc_auc", [0.953, 1.0]) == "0.953 to 1.000"


def test_every_metric_is_on_the_page_with_its_interval(report):
    page = write_report(report).read_text(encoding="utf-8")
    record = json.loads((report.run.path / "report.json").read_text(encoding="utf-8"))
    for which in ("last", "best"):
        found = record["epochs"][which]["scores"]
        assert found.keys() == METRICS.keys()
        assert found["accuracy"]["interval95"] == record["epochs"][which]["wilson95"]
    low, high = record["epochs"]["last"]["scores"]["roc_auc"]["interval95"]
    assert f"{low:.3f} to {high:.3f}" in page
    for name, metric in METRICS.items():
        assert f"<strong>{metric.label}</strong> (<code>{name}</code>)" in page
    assert "balanced accuracy 0." in summary(report.record)
    assert "Training stopped far from its end" not in page


def test_a_class_without_images_has_reasons_instead_of_metrics(report):
    none_red = with_probabilities(report, [[0.8, 0.2], [0.4, 0.6]], [0, 0])
    page = write_report(none_red).read_text(encoding="utf-8")
    assert "Not here: no sample is of class red." in page
    assert "No ROC curves: all images are of class blue: there is nothing to tell them from." in page
    record = json.loads((report.run.path / "report.json").read_text(encoding="utf-8"))
    assert record["epochs"]["last"]["scores"]["roc_auc"]["value"] is None
    assert record["curves"] == {"not_run": "all images are of class blue: there is nothing to tell them from"}
    assert "ROC AUC not defined (no sample is of class red)" in summary(none_red.record)


def test_a_head_no_better_than_its_most_frequent_class_is_said(report):
    alone = with_probabilities(report, [[0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 1])
    said = "Always blue, the most frequent class, is right on 2 of 3: this accuracy shows nothing that was learned; the"
    assert f"{said} head predicts 1 of 2 classes" in summary(alone.record)
    assert f"<p>{said} head" in write_report(alone).read_text(encoding="utf-8")
    right = with_probabilities(report, [[0.8, 0.2], [0.7, 0.3], [0.4, 0.6]], [0, 0, 1])
    assert "most frequent class, is right" not in summary(right.record)


def test_a_training_that_stopped_far_from_its_end_is_said(report, cached_report):
    fallen = [replace(epoch, lr=4e-6, train_accuracy=1.0) for epoch in cached_report.run.history]
    early = replace(report, run=replace(report.run, history=fallen))
    assert "<p>Training stopped far from its end: " in write_report(early).read_text(encoding="utf-8")
