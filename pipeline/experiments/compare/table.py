"""A comparison as a document, and every training as CSV.

In: :class:`pipeline.experiments.compare.record.Comparison`. Out: a ``Document``, text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping

from pipeline.experiments.compare.conclusion import RULES
from pipeline.experiments.compare.config import CompareConfig
from pipeline.experiments.compare.record import K_FOLD, OVER_SIZES, PUBLISHED, Comparison, SetFigures, design_of_size
from pipeline.experiments.compare.results import Trainings
from pipeline.experiments.compare.words import Unit, p_value
from pipeline.experiments.statistics import too_few
from pipeline.heads.controls.ablations import PARTS
from pipeline.pages.document import Document, Figure, Part, Points, Section, Table, Warned
from pipeline.util.drawing import Drawing
from pipeline.util.markdown import counted
from pipeline.util.metrics import METRICS

COLUMNS = (
    "set",
    "head",
    "design",
    "seed",
    "fold",
    "size",
    "n_train",
    "n_inner",
    "n_test",
    "epoch",
    "accuracy",
    "loss",
    "best_epoch",
    "best_accuracy",
    *(name for name in METRICS if name != "accuracy"),
)


def document_of(comparison: Comparison, drawings: Mapping[str, Drawing]) -> Document:
    """Conclusion, figures, tables, and what their columns mean."""
    config, first = comparison.config, comparison.first
    warning = too_few(config.seeds)
    title = f"{counted(config.seeds, 'repetition')} of {config.folds}-fold cross-validation"
    split = f"{first.published.train} to train and {first.published.val} to judge by, " if _is_one(comparison) else ""
    folds: list[Part] = [Warned(warning)] if warning else []
    folds += [_table(comparison, K_FOLD), *_figure(drawings, "compare", "Intervals and p-values as in the table.")]
    sections = [Section(f"{title}, {_sizes(comparison)}", folds, short="Cross-validation")]
    if config.sizes:
        caption = (
            "Lines are means over all repetitions and folds, bands their 95 % intervals; sizes on a logarithmic scale."
        )
        curves = [*_figure(drawings, "curves", caption), _curve_table(comparison)]
        sections.append(Section("Learning curves: how many a class are learned from", curves, short="Learning curves"))
    if config.ablations:
        sections.append(Section("What the parts of trained circuits are worth", [_part_table(comparison)], "Parts"))
    sections += [
        Section(
            f"The {first.split}, {split}{counted(config.seeds, 'seed')}",
            [_table(comparison, PUBLISHED)],
            first.split.capitalize(),
        ),
        Section("How to read this", [Points(_notes(config, first))]),
    ]
    return Document("Does the quantum part help?", comparison.conclusion, sections, made=_made(comparison))


def to_csv(found: Mapping[str, Trainings]) -> str:
    """Every training, a line each; the published split has no fold, and what learned from all has no size."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for name, heads in found.items():
        for head, own in heads.items():
            rows = ({"set": name, "head": head, "design": each.design, **vars(each), **each.metrics} for each in own)
            table.writerows(rows)
    return text.getvalue()


def _made(comparison: Comparison) -> str:
    return f"Made {comparison.created[:16].replace('T', ' ')} UTC, {comparison.cpu_seconds:.0f} seconds of a core."


def _is_one(comparison: Comparison) -> bool:
    return len(comparison.sets) == 1


def _sizes(comparison: Comparison) -> str:
    return ", ".join(
        each.size if _is_one(comparison) else f"{name} ({each.size})" for name, each in comparison.sets.items()
    )


def _figure(drawings: Mapping[str, Drawing], name: str, caption: str) -> list[Part]:
    return [Figure(name, drawings[name], caption)] if name in drawings else []


def _table(comparison: Comparison, design: str) -> Table:
    unit, reference = Unit(comparison.config.metric), comparison.config.reference
    lead = [] if _is_one(comparison) else ["set"]
    heading = [*lead, "head", "trained", unit.of_values, "95 %", f"− {reference}, {unit.of_differences}", "95 %", "p"]
    rows = [[*heading, "p, Holm", "d", "visible from", "best on test, %", "CPU s"]]
    for name, each in comparison.sets.items():
        for head, row in each.figures[design].items():
            cost, difference = each.heads[head], row.difference
            cells = [*([name] if lead else []), head, f"{cost.parameters:,}" if cost.parameters else "by rows"]
            cells += [unit.value(row.value.mean), unit.interval(row.value)]
            if difference is None:
                cells += [""] * 6
            else:
                effect = difference.effect_size
                cells += [
                    unit.difference(difference.mean),
                    unit.interval(difference, signed=True),
                    p_value(difference.p),
                    p_value(row.p_holm),
                    "–" if effect is None else f"{effect:+.2f}".replace("-", "−"),
                    "–" if row.smallest_visible is None else unit.value(row.smallest_visible),
                ]
            best = "–" if row.best_on_test is None else f"{100 * row.best_on_test:.1f}"
            rows.append([*cells, best, f"{cost.cpu_seconds_a_training:.2f}"])
    caption = f"The {comparison.first.split}" if design == PUBLISHED else "Cross-validation"
    return Table(caption, rows, left=1 + len(lead))


def _curve_table(comparison: Comparison) -> Table:
    config, unit = comparison.config, Unit(comparison.config.metric)
    lead = [] if _is_one(comparison) else ["set"]
    designs = [*(design_of_size(size) for size in config.sizes), K_FOLD]
    over = f"mean − {config.reference}, {unit.of_differences}"
    rows = [[*lead, "head", *map(str, config.sizes), "all", "mean over sizes", over, "95 %", "p, Holm"]]
    for name, each in comparison.sets.items():
        for head, mean in each.figures[OVER_SIZES].items():
            cells = [
                f"{unit.value(row.value.mean)} ({unit.interval(row.value)})"
                for row in (each.figures[d][head] for d in designs)
            ]
            difference = mean.difference
            end = ["", "", ""]
            if difference is not None:
                end = [unit.difference(difference.mean), unit.interval(difference, signed=True), p_value(mean.p_holm)]
            rows.append([*([name] if lead else []), head, *cells, unit.value(mean.value.mean), *end])
    return Table(
        f"{unit.of_values} by the number a class that is learned from, with 95 % intervals", rows, left=1 + len(lead)
    )


def _part_table(comparison: Comparison) -> Table:
    lead = [] if _is_one(comparison) else ["set"]
    rows = [[*lead, "head", "taken away", "left, %", "costs, points", "95 %", "p"]]
    points = Unit("accuracy")
    for name, each in comparison.sets.items():
        for head, found in each.parts.items():
            for part, figures in found.items():
                cells = [points.value(figures.accuracy), points.difference(figures.cost.mean)]
                cells += [points.interval(figures.cost, signed=True), p_value(figures.cost.p)]
                rows.append([*([name] if lead else []), head, PARTS[part], *cells])
    caption = "Accuracy in cross-validation without a part, without another training; p before any correction"
    return Table(caption, rows, left=2 + len(lead))


def _notes(config: CompareConfig, first: SetFigures) -> list[str]:
    noun = first.noun
    last_seed = config.seed + config.seeds - 1
    unit = Unit(config.metric)
    shown = "in %, differences in points" if unit.is_share else f"as it is: {METRICS[config.metric].meaning}"
    notes = [
        f"Judged: {RULES[config.early_stopping]}; seeds {config.seed} to {last_seed}. A seed is one repetition: of the "
        "partition, and in all heads alike of initial weights and order of samples.",
        f"Metric: {unit.label}, {shown}. Intervals lie on the logit scale, and so between what it can be.",
        "p of cross-validation: Nadeau and Bengio's corrected resampled t-test, because the training sets of folds "
        "overlap; the intervals there are corrected likewise. Holm: corrected for testing several heads, sizes and "
        "data sets at once.",
        f"p and intervals of the {first.split}: over seeds alone, with these {noun} fixed. They do not tell about "
        f"other {noun}, and become as narrow as one likes with more seeds.",
        "d: mean over standard deviation of the paired differences. Visible from: the smallest true difference that "
        "this test, Holm's correction included, finds four times in five.",
        f'Best on test: the accuracy of the epoch that is best on the very {noun} it is judged on, as in "best '
        'validation accuracy" of the paper: flattered, and shown for comparison with published numbers only.',
        "Trained: parameters that training changes, without those of a circuit that never get a gradient.",
        "CPU s: seconds of one core a training, many trained side by side, evaluation on the test split after every "
        "epoch included.",
    ]
    if noun == "rows" and "scaling" in json.loads(first.features["transform"]):
        notes.append(f"Scale: that of the {first.split}'s training {noun}, for all folds alike (--standardize).")
    if config.sizes:
        notes.append(
            f"Learning curves: of each fold's training {noun} a few a class, drawn once a seed; the few are part of "
            "the many, and the same for all heads. Mean over sizes: the area below the curve over the logarithm of the "
            "size, divided by its width."
        )
    return notes
