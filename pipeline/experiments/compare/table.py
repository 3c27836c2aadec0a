"""The tables of a comparison, as Markdown whose columns line up, and every training as CSV.

In: the record of a comparison, as ``compare.json`` holds it. Out: text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.experiments.compare.conclusion import RULES, p_value, points
from pipeline.util.markdown import markdown

COLUMNS = (
    "head",
    "design",
    "seed",
    "fold",
    "n_train",
    "n_inner",
    "n_test",
    "epoch",
    "accuracy",
    "loss",
    "best_epoch",
    "best_accuracy",
)


def render(record: Mapping[str, Any]) -> str:
    """Both tables, what their columns mean, and the conclusion, as one Markdown document."""
    config = record["config"]
    seeds = f"seeds {config['seed']} to {config['seed'] + config['seeds'] - 1}"
    return "\n\n".join(
        [
            record["conclusion"],
            f"### {config['seeds']} repetitions of {config['folds']}-fold cross-validation, {record['images']} images",
            _table(record, "k-fold"),
            f"### The published split, {record['published']['train']} to train and {record['published']['val']} to "
            f"judge by, {config['seeds']} seeds",
            _table(record, "published"),
            "\n".join(f"- {line}" for line in _notes(config, seeds)),
        ]
    )


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every training, a line each; the published split has no fold."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _table(record: Mapping[str, Any], design: str) -> str:
    reference = record["config"]["reference"]
    heading = ["head", "trained", "accuracy", "95 %", f"− {reference}", "95 %", "p", "p, Holm", "d", "visible from"]
    rows = [[*heading, "best on test", "CPU s"]]
    for head, row in record["figures"][design].items():
        made, accuracy, difference = record["heads"][head], row["accuracy"], row["difference"]
        cells = [head, f"{made['parameters']:,}", _percent(accuracy["mean"])]
        cells += [_interval(accuracy, _percent)]
        if difference is None:
            cells += [""] * 6
        else:
            cells += [
                points(difference["mean"]),
                _interval(difference, points),
                p_value(difference["p"]),
                p_value(row["p_holm"]),
                "–" if difference["effect_size"] is None else f"{difference['effect_size']:+.2f}".replace("-", "−"),
                "–" if row["smallest_visible"] is None else f"{100 * row['smallest_visible']:.1f}",
            ]
        rows.append([*cells, _percent(row["best_on_test"]), f"{made['cpu_seconds_a_training']:.2f}"])
    return markdown(rows)


def _notes(config: Mapping[str, Any], seeds: str) -> list[str]:
    return [
        f"Judged: {RULES[config['early_stopping']]}; {seeds}. A seed is one repetition: of the partition, and in all "
        "heads alike of initial weights and order of samples. Accuracy in %, differences in points.",
        "p of the k-fold table: Nadeau and Bengio's corrected resampled t-test, as the training sets of folds overlap; "
        "so are all intervals there. Holm: corrected over the heads, as many differences are tested at once.",
        "p and intervals of the published split: over seeds alone, with these images fixed. They do not tell about "
        "other images, and become as narrow as one likes with more seeds.",
        "d: mean over standard deviation of the paired differences. Visible from: the smallest true difference, in "
        "points, that this test, Holm's correction included, finds four times in five.",
        'Best on test: the accuracy of the epoch that is best on the very images it is judged on, as in "best '
        'validation accuracy" of the paper: flattered, and shown for comparison with published numbers only.',
        "CPU s: seconds of one core a training, many trained side by side, the look at the test images after every "
        "epoch included.",
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(found: Mapping[str, Any], show: Any) -> str:
    return "–" if found["low"] is None else f"{show(found['low'])} to {show(found['high'])}"
