"""What can be concluded from a comparison, and what can't: a sentence, and one more for sizes and each further set.

In: :class:`pipeline.experiments.compare.record.Comparison`. Out: text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.experiments.compare.config import head_of
from pipeline.experiments.compare.record import (
    K_FOLD,
    OVER_SIZES,
    PUBLISHED,
    Comparison,
    HeadFigures,
    SetFigures,
    design_of_size,
)
from pipeline.experiments.compare.words import Unit, p_equals
from pipeline.heads.registry import HEADS
from pipeline.training.objective.schedule import steps_at_first_rate
from pipeline.util.markdown import counted, listed

LEVEL, FITTED = 0.05, "logistic"
ROUNDING = 1e-9
RULES = {
    False: "each head as it is after the last epoch",
    True: "each head of the epoch chosen on a fifth of what it trains on",
}


def conclude(comparison: Comparison) -> str:
    """The conclusion, from k-fold cross-validation: the published split alone can't carry one."""
    config, first = comparison.config, comparison.first
    found, unit, reference = first.figures[K_FOLD], Unit(config.metric), config.reference
    main = main_head(comparison)
    names = [_with_circuit(main, comparison), _with_circuit(reference, comparison)]
    values = [unit.value(found[head].value.mean) for head in (main, reference)]
    if config.metric == "accuracy":
        said = f"the {names[0]} is right on {values[0]} % and the {names[1]} on {values[1]} %"
    else:
        end = " %" if unit.is_share else ""
        said = f"the {names[0]} has a {unit.label} of {values[0]}{end} and the {names[1]} of {values[1]}{end}"
    parts = [
        f"In {counted(config.seeds, 'repetition')} of {config.folds}-fold cross-validation over {first.size}"
        f"{_of_set(comparison)}, {RULES[config.early_stopping]}, {said}, "
        f"{_verdict(main, reference, found[main], first.noun, unit)}",
        _of_these_alone(main, first, unit),
        _rest([head for head in found if head not in (main, reference)], reference, found, unit),
    ]
    if _more_repetitions_are_idle(found[main], config.folds):
        parts.append(
            f"to see smaller differences would take more {first.noun}, because more repetitions hardly sharpen it"
        )
    further = [_only_frequent(main, comparison), _repeated(first), _unfinished(main, comparison, unit)]
    further.append(_by_size(main, comparison, unit))
    further += [_other_set(name, main, each, unit) for name, each in list(comparison.sets.items())[1:]]
    return " ".join(f"{sentence}." for sentence in ["; ".join(part for part in parts if part), *further] if sentence)


def main_head(comparison: Comparison) -> str:
    """The head that the conclusion is about: the quantum one, unless it is the reference."""
    others = [head for head in comparison.first.figures[K_FOLD] if head != comparison.config.reference]
    return "quantum" if "quantum" in others else others[0]


def is_real(row: HeadFigures) -> bool:
    """Whether a head's difference to the reference can be told from chance."""
    return row.p_holm is not None and row.p_holm <= LEVEL


def _with_circuit(name: str, comparison: Comparison) -> str:
    head, circuit = head_of(name)
    shown = circuit or (comparison.config.circuit if head in HEADS and HEADS[head].of_circuit else None)
    return f"{head} head" + (f" (circuit {shown})" if shown else "")


def _of_set(comparison: Comparison) -> str:
    return f" of {next(iter(comparison.sets))}" if len(comparison.sets) > 1 else ""


def _verdict(main: str, reference: str, row: HeadFigures, noun: str, unit: Unit) -> str:
    difference, p = row.difference, row.p_holm
    if difference is None or difference.low is None or difference.high is None or p is None:
        return "which is too little to judge the difference by"
    if p == 1.0 and difference.standard_error == 0.0:
        return "in every single training the same"
    words = f"{_difference(row, unit)}, p {p_equals(p)} corrected)"
    if p <= LEVEL:
        better = "better" if unit.is_better(difference.mean) else "worse"
        return f"a difference of {words}: on {noun} like these the {main} head is {better} than the {reference} head"
    missed = unit.with_unit(unit.value(row.smallest_visible or 0.0))
    return (
        f"a difference of {words} that chance alone could make: it can't be concluded that the {main} head is better "
        f"or worse than the {reference} head, nor that the two are equal, because this design would often miss a true "
        f"difference of less than {missed}"
    )


def _difference(row: HeadFigures, unit: Unit) -> str:
    """``−0.5 points (95 % interval −2.1 to +1.1``, with the bracket left open."""
    assert row.difference is not None
    mean = unit.with_unit(unit.difference(row.difference.mean))
    return f"{mean} (95 % interval {unit.interval(row.difference, signed=True)}"


def _of_these_alone(main: str, found: SetFigures, unit: Unit) -> str:
    """A sentence on a difference that holds for the images of the published split alone."""
    folds, split = (found.figures[design][main] for design in (K_FOLD, PUBLISHED))
    if split.difference is None or split.p_holm is None or folds.p_holm is None:
        return ""
    if not split.p_holm <= LEVEL < folds.p_holm:
        return ""
    return (
        f"the {unit.with_unit(unit.difference(split.difference.mean))} on which the seeds agree in the {found.split} "
        f"(p {p_equals(split.p_holm)} corrected) tell of its {found.published.val} {found.noun} alone"
    )


def _rest(others: Sequence[str], reference: str, found: Mapping[str, HeadFigures], unit: Unit) -> str:
    if not others:
        return ""
    real = {
        head: difference.mean
        for head in others
        if (difference := found[head].difference) is not None and is_real(found[head])
    }
    if not real:
        return f"of {listed(others)} none differs detectably from {reference} either way"
    named = listed([f"{head} ({unit.difference(mean)})" for head, mean in real.items()])
    unlike = [head for head in others if head not in real]
    return f"{named} differ{'s' if len(real) == 1 else ''} detectably from {reference}" + (
        f", {listed(unlike)} {'do' if len(unlike) > 1 else 'does'} not" if unlike else ""
    )


def _only_frequent(main: str, comparison: Comparison) -> str:
    """A sentence where a head or its reference is no more accurate than the most frequent class alone."""
    config, first = comparison.config, comparison.first
    if config.metric != "accuracy" or first.most_frequent is None:
        return ""
    heads = (main, config.reference)
    low = [head for head in heads if first.figures[K_FOLD][head].value.mean <= first.most_frequent + ROUNDING]
    if not low:
        return ""
    return (
        f"Always the most frequent class would be right on {100 * first.most_frequent:.1f} %, which {listed(low)} "
        f"{'do' if len(low) > 1 else 'does'} not exceed: --metric balanced_accuracy says more"
    )


def _repeated(found: SetFigures) -> str:
    """A sentence on duplicates, which no partition into folds keeps apart."""
    if not found.repeated:
        return ""
    has = "has" if found.repeated == 1 else "have"
    return (
        f"{found.repeated:,} of the {found.size} {has} the features of another: folds share such, which flatters all "
        "accuracies"
    )


def _unfinished(main: str, comparison: Comparison, unit: Unit) -> str:
    """A sentence where the head that is fitted to its optimum is ahead of those that learn for some epochs."""
    config, first = comparison.config, comparison.first
    row = first.figures[K_FOLD].get(FITTED)
    if row is None or row.difference is None or not is_real(row) or not unit.is_better(row.difference.mean):
        return ""
    if not unit.is_better(row.value.mean - first.figures[K_FOLD][main].value.mean):
        return ""
    steps = steps_at_first_rate(config, first.images * (config.folds - 1) / config.folds)
    return (
        f"{FITTED.capitalize()} is fitted to its optimum, while the others learn for {config.epochs} epochs: longer "
        f"training may bring them nearer, as --epochs {3 * config.epochs} --decay-steps {3 * steps}"
    )


def _by_size(main: str, comparison: Comparison, unit: Unit) -> str:
    """What few images to learn from change."""
    sizes = comparison.config.sizes
    if not sizes:
        return ""
    figures, noun = comparison.first.figures, comparison.first.noun
    few, mean = (_judged(figures[design][main], unit) for design in (design_of_size(sizes[0]), OVER_SIZES))
    learned = listed([*map(str, sizes), "all"])
    return f"With {sizes[0]} {noun} a class to learn from the difference is {few}, in the mean over {learned} {mean}"


def _judged(row: HeadFigures, unit: Unit) -> str:
    if row.difference is None or row.difference.low is None or row.p_holm is None:
        return "not to be judged"
    chance = "can't be chance alone" if is_real(row) else "could be chance"
    return f"{_difference(row, unit)}), which {chance}"


def _other_set(name: str, main: str, found: SetFigures, unit: Unit) -> str:
    return f"On the {found.size} of {name} the difference is {_judged(found.figures[K_FOLD][main], unit)}"


def _more_repetitions_are_idle(row: HeadFigures, folds: int) -> bool:
    """Whether more repetitions would hardly sharpen the interval, because most of the variance is from overlap."""
    difference = row.difference
    return difference is not None and difference.standard_error is not None and difference.count > 5 * (folds - 1)
