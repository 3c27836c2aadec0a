"""The report on the disk: ``report.html``, one self-contained page, its figures as PNG files, ``report.json`` with all
figures and ``predictions.csv`` with every validation image.

In: a :class:`pipeline.inference.evaluation.Report`. Out: files in the run folder.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from features.util.files import write_atomically, write_bytes, write_text
from pipeline.inference.evaluation import Report
from pipeline.pages.document import HERE as PIECES
from pipeline.report.circuit import ablation_words
from pipeline.report.commands import without_home
from pipeline.report.examples import examples
from pipeline.report.figures import FIGURES, confusions
from pipeline.report.findings import Findings, find
from pipeline.report.summary import calibration_words, checks, majority_words, sentence, standing_words
from pipeline.report.words import interval, percent, score
from pipeline.training.objective.schedule import far_from_end
from pipeline.training.record import config_record
from pipeline.training.run import Run
from pipeline.util.drawing import Drawing, style
from pipeline.util.metrics import METRICS

PREDICTIONS = "predictions.csv"
# Above this number of classes the heading gives their count instead of their names.
NAMED = 4


def write_report(report: Report) -> Path:
    """Write the report into the run folder.

    Returns:
        The path of ``report.html``.
    """
    folder = report.run.path
    found = find(report)
    with style():
        drawn = {name: draw(found) for name, draw in FIGURES.items()}
        drawings = {name: Drawing(*each) for name, each in drawn.items() if each is not None}
        pictures = {f"{name}.png": drawing.png() for name, drawing in drawings.items()}
        page = _page(found, drawings)
    record = found.to_json() | {"pictures": {f"{name}.png": drawing.words for name, drawing in drawings.items()}}
    # The earlier report stays until all of this one is at hand. The page is written last: where it is, all is.
    (folder / "report.html").unlink(missing_ok=True)
    for name in {f"{name}.png" for name in FIGURES} - set(pictures):
        (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        write_bytes(folder / name, picture)
    write_atomically(folder / PREDICTIONS, lambda part: _write_predictions(found, part))
    write_text(folder / "report.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _write_predictions(report: Findings, file: Path) -> None:
    classes = report.run.classes
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["image", "true class", "predicted class", *(f"probability of {name}" for name in classes)])
        guesses = report.probabilities.argmax(axis=1)
        for row, path in enumerate(report.paths):
            shares = (f"{share:.6f}" for share in report.probabilities[row].tolist())
            table.writerow([path, classes[report.labels[row]], classes[guesses[row]], *shares])


def _page(report: Findings, drawings: dict[str, Drawing]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader([Path(__file__).parent, PIECES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    record = report.record
    last = record.epochs.last
    pages.filters["percent"] = percent
    pages.filters["points"] = lambda share: f"{100 * share:+.1f}".replace("-", "\u2212")
    pages.filters["interval"] = lambda ends: interval("accuracy", ends)
    pages.filters["score"] = lambda value, name: "–" if value is None else score(name, value)
    pages.filters["scores"] = lambda ends, name: "–" if ends is None else interval(name, ends)
    pages.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    pages.filters["private"] = (lambda value: value) if report.config.full_paths else without_home
    most = max(range(len(report.run.classes)), key=lambda index: last.support[index])
    return pages.get_template("page.html").render(
        report=report,
        record=record,
        run=report.run,
        title=_title(report.run),
        sentence=sentence(record),
        checks=checks(record),
        metrics=METRICS,
        far_from_end=far_from_end(
            report.run.config, report.run.history, report.cache.shapes["train"][0], len(record.classes)
        ),
        calibration_words=calibration_words(report.calibration),
        guess=report.run.classes[most],
        guess_accuracy=last.support[most] / last.total,
        confusions=[
            (count, report.run.classes[truth], report.run.classes[taken])
            for count, truth, taken in confusions(last.confusion)
        ],
        drawings=drawings,
        examples=examples(report),
        has_pictures=report.images is not None,
        versions={"features": report.run.features.provenance.versions, "training": report.run.versions}
        | {"evaluation": record.versions},
        recorded={"config": config_record(report.run.config), "features": record.features},
        standing=majority_words(record) + standing_words(report.standing),
        ablations=None if isinstance(report.ablations, str) else report.ablations,
        ablation_words=[] if isinstance(report.ablations, str) else ablation_words(report.ablations),
        links=_links(report.run.path),
        description=report.run.head().description,
    )


def _links(run: Path) -> list[tuple[str, str]]:
    """The comparison and the paper's table, where they lie beside the run."""
    found = {"the comparison of heads": "../compare/compare.html", "the paper's table": "../paper/paper.html"}
    return [(name, place) for name, place in found.items() if (run / place).is_file()]


def _title(run: Run) -> str:
    names = run.classes
    return (
        " or ".join(names) + "?" if len(names) <= NAMED else f"{len(names)} classes of {run.features.provenance.data}"
    )
