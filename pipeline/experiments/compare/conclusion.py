"""What can be concluded from a comparison, and what can't, in one sentence.

In: :class:`pipeline.experiments.compare.record.Comparison`. Out: text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.experiments.compare.record import K_FOLD, PUBLISHED, Comparison, HeadFigures

LEVEL = 0.05
RULES = {
    False: "each head as it is after the last epoch",
    True: "each head of the epoch chosen on a fifth of what it trains on",
}


def conclude(comparison: Comparison) -> str:
    """The conclusion, from k-fold cross-validation: the published split alone can't carry one."""
    config, found = comparison.config, comparison.figures[K_FOLD]
    reference = config.reference
    others = [head for head in found if head != reference]
    main = "quantum" if "quantum" in others else others[0]
    right = {head: 100 * found[head].accuracy.mean for head in (main, reference)}
    parts = [
        f"In {config.seeds} repetitions of {config.folds}-fold cross-validation over {comparison.size}, "
        f"{RULES[config.early_stopping]}, the {main} head is right on {right[main]:.1f} % and the {reference} head "
        f"on {right[reference]:.1f} %, {_verdict(main, reference, found[main], comparison.noun)}",
        _of_these_alone(main, comparison),
        _rest([head for head in others if head != main], reference, found),
    ]
    if _more_repetitions_are_idle(found[main], config.folds):
        parts.append(
            f"to see smaller differences would take more {comparison.noun}, because more repetitions hardly sharpen it"
        )
    return "; ".join(part for part in parts if part) + "."


def points(value: float) -> str:
    """A difference in percentage points, with its sign; none if it rounds to zero."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return text[1:] if text[1:] == "0.0" else text


def p_value(p: float | None) -> str:
    """A p-value to three places."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def is_real(row: HeadFigures) -> bool:
    """Whether a head's difference to the reference can be told from chance."""
    return row.p_holm is not None and row.p_holm <= LEVEL


def _verdict(main: str, reference: str, row: HeadFigures, noun: str) -> str:
    difference, p = row.difference, row.p_holm
    if difference is None or difference.low is None or difference.high is None or p is None:
        return "which is too little to judge the difference by"
    if p == 1.0 and difference.standard_error == 0.0:
        return "in every single training the same"
    words = (
        f"{points(difference.mean)} points (95 % interval {points(difference.low)} to {points(difference.high)}, "
        f"p {_equals(p)} corrected)"
    )
    if p <= LEVEL:
        better = "better" if difference.mean > 0 else "worse"
        return f"a difference of {words}: on {noun} like these the {main} head is {better} than the {reference} head"
    missed = 100 * (row.smallest_visible or 0.0)
    return (
        f"a difference of {words} that chance alone could make: it can't be concluded that the {main} head is better "
        f"or worse than the {reference} head, nor that the two are equal, because this design would often miss a true "
        f"difference of less than {missed:.1f} points"
    )


def _of_these_alone(main: str, comparison: Comparison) -> str:
    """A sentence on a difference that holds for the images of the published split alone."""
    folds, split = (comparison.figures[design][main] for design in (K_FOLD, PUBLISHED))
    if split.difference is None or split.p_holm is None or folds.p_holm is None:
        return ""
    if not split.p_holm <= LEVEL < folds.p_holm:
        return ""
    return (
        f"the {points(split.difference.mean)} points on which the seeds agree in the published split (p "
        f"{_equals(split.p_holm)} corrected) tell of its {comparison.published.val} {comparison.noun} alone"
    )


def _rest(others: Sequence[str], reference: str, found: Mapping[str, HeadFigures]) -> str:
    if not others:
        return ""
    real = {
        head: difference.mean
        for head in others
        if (difference := found[head].difference) is not None and is_real(found[head])
    }
    if not real:
        return f"of {_listed(others)} none differs detectably from {reference} either way"
    named = _listed([f"{head} ({points(mean)})" for head, mean in real.items()])
    unlike = [head for head in others if head not in real]
    return f"{named} differ{'s' if len(real) == 1 else ''} detectably from {reference}" + (
        f", {_listed(unlike)} {'do' if len(unlike) > 1 else 'does'} not" if unlike else ""
    )


def _more_repetitions_are_idle(row: HeadFigures, folds: int) -> bool:
    """Whether more repetitions would hardly sharpen the interval, because most of the variance is from overlap."""
    difference = row.difference
    return difference is not None and difference.standard_error is not None and difference.count > 5 * (folds - 1)


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
