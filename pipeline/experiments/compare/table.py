"""The tables of a comparison as Markdown, and every training as CSV.

In: :class:`pipeline.experiments.compare.record.Comparison`. Out: text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from pipeline.experiments.compare.conclusion import RULES, p_value, points
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.record import K_FOLD, PUBLISHED, Comparison
from pipeline.experiments.compare.results import Trainings
from pipeline.experiments.statistics import Estimate, too_few
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


def render(comparison: Comparison) -> str:
    """Conclusion, both tables, and what their columns mean, as one Markdown document."""
    config, published = comparison.config, comparison.published
    warning = too_few(config.seeds)
    parts = [
        comparison.conclusion,
        f"### {config.seeds} repetitions of {config.folds}-fold cross-validation, {comparison.size}",
        _table(comparison, K_FOLD),
        f"### The published split, {published.train} to train and {published.val} to judge by, {config.seeds} seeds",
        f"**{warning}**" if warning else "",
        _table(comparison, PUBLISHED),
        "\n".join(f"- {line}" for line in _notes(config, comparison.noun)),
    ]
    return "\n\n".join(part for part in parts if part)


def to_csv(found: Trainings) -> str:
    """Every training, a line each; the published split has no fold."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for head, own in found.items():
        table.writerows({"head": head, "design": each.design, **vars(each)} for each in own)
    return text.getvalue()


def _table(comparison: Comparison, design: str) -> str:
    reference = comparison.config.reference
    heading = ["head", "trained", "accuracy", "95 %", f"− {reference}", "95 %", "p", "p, Holm", "d", "visible from"]
    rows = [[*heading, "best on test", "CPU s"]]
    for head, row in comparison.figures[design].items():
        cost, accuracy, difference = comparison.heads[head], row.accuracy, row.difference
        cells = [head, f"{cost.parameters:,}", _percent(accuracy.mean), _interval(accuracy, _percent)]
        if difference is None:
            cells += [""] * 6
        else:
            cells += [
                points(difference.mean),
                _interval(difference, points),
                p_value(difference.p),
                p_value(row.p_holm),
                "–" if difference.effect_size is None else f"{difference.effect_size:+.2f}".replace("-", "−"),
                "–" if row.smallest_visible is None else f"{100 * row.smallest_visible:.1f}",
            ]
        rows.append([*cells, _percent(row.best_on_test), f"{cost.cpu_seconds_a_training:.2f}"])
    return markdown(rows)


def _notes(config: CompareConfig, noun: str) -> list[str]:
    last_seed = config.seed + config.seeds - 1
    return [
        f"Judged: {RULES[config.early_stopping]}; seeds {config.seed} to {last_seed}. A seed is one repetition: of the "
        "partition, and in all heads alike of initial weights and order of samples. Accuracy in %, differences in "
        "points.",
        "p of the k-fold table: Nadeau and Bengio's corrected resampled t-test, because the training sets of folds "
        "overlap; the intervals there are corrected likewise. Holm: corrected for testing several heads at once.",
        f"p and intervals of the published split: over seeds alone, with these {noun} fixed. They do not tell about "
        f"other {noun}, and become as narrow as one likes with more seeds.",
        "d: mean over standard deviation of the paired differences. Visible from: the smallest true difference, in "
        "points, that this test, Holm's correction included, finds four times in five.",
        f'Best on test: the accuracy of the epoch that is best on the very {noun} it is judged on, as in "best '
        'validation accuracy" of the paper: flattered, and shown for comparison with published numbers only.',
        "CPU s: seconds of one core a training, many trained side by side, evaluation on the test split after every "
        "epoch included.",
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(found: Estimate, show: Callable[[float], str]) -> str:
    return "–" if found.low is None or found.high is None else f"{show(found.low)} to {show(found.high)}"
