"""What can be concluded from a comparison, and what can't, in one sentence.

In: the record of a comparison, as ``compare.json`` holds it. Out: text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEVEL = 0.05
RULES = {
    False: "each head as it is after the last epoch",
    True: "each head of the epoch chosen on a fifth of its training images",
}


def conclude(record: Mapping[str, Any]) -> str:
    """The conclusion, from k-fold cross-validation: the published split alone can't carry one."""
    config, found = record["config"], record["figures"]["k-fold"]
    reference = config["reference"]
    others = [head for head in found if head != reference]
    main = "quantum" if "quantum" in others else others[0]
    right = {head: 100 * found[head]["accuracy"]["mean"] for head in (main, reference)}
    parts = [
        f"In {config['seeds']} repetitions of {config['folds']}-fold cross-validation over {record['images']} images, "
        f"{RULES[config['early_stopping']]}, the {main} head is right on {right[main]:.1f} % and the {reference} head "
        f"on {right[reference]:.1f} %, {_verdict(main, reference, found[main])}",
        _of_these_images(main, record),
        _rest([head for head in others if head != main], reference, found),
    ]
    if _more_repetitions_are_idle(found[main], config["folds"]):
        parts.append("to see smaller differences would take more images, as more repetitions hardly sharpen it")
    return "; ".join(part for part in parts if part) + "."


def points(value: float) -> str:
    """A difference in percentage points, with its sign; none if it rounds to zero."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return text[1:] if text[1:] == "0.0" else text


def p_value(p: float | None) -> str:
    """A p-value to three places."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _verdict(main: str, reference: str, row: Mapping[str, Any]) -> str:
    difference = row["difference"]
    if difference["standard_error"] is None:
        return "which is too little to judge the difference by"
    if row["p_holm"] == 1.0 and difference["standard_error"] == 0.0:
        return "in every single training the same"
    told = (
        f"{points(difference['mean'])} points (95 % interval {points(difference['low'])} to "
        f"{points(difference['high'])}, p {_equals(row['p_holm'])} corrected)"
    )
    if row["p_holm"] <= LEVEL:
        better = "better" if difference["mean"] > 0 else "worse"
        return f"a difference of {told}: on images like these the {main} head is {better} than the {reference} head"
    return (
        f"a difference of {told} that chance alone could make: it can't be concluded that the {main} head is better or "
        f"worse than the {reference} head, nor that the two are equal, as this design would often miss a true "
        f"difference of less than {100 * row['smallest_visible']:.1f} points"
    )


def _of_these_images(main: str, record: Mapping[str, Any]) -> str:
    """Where seeds agree on a difference that the images as a whole do not bear out, what that is worth."""
    folds, split = (record["figures"][design][main] for design in ("k-fold", "published"))
    if any(row["p_holm"] is None for row in (folds, split)) or not split["p_holm"] <= LEVEL < folds["p_holm"]:
        return ""
    return (
        f"the {points(split['difference']['mean'])} points on which the seeds agree in the published split (p "
        f"{_equals(split['p_holm'])} corrected) tell of its {record['published']['val']} images alone"
    )


def _rest(others: Sequence[str], reference: str, found: Mapping[str, Any]) -> str:
    if not others:
        return ""
    real = [head for head in others if found[head]["p_holm"] is not None and found[head]["p_holm"] <= LEVEL]
    if not real:
        return f"of {_listed(others)} none differs detectably from {reference} either way"
    named = _listed([f"{head} ({points(found[head]['difference']['mean'])})" for head in real])
    unlike = [head for head in others if head not in real]
    return f"{named} differ{'s' if len(real) == 1 else ''} detectably from {reference}" + (
        f", {_listed(unlike)} {'do' if len(unlike) > 1 else 'does'} not" if unlike else ""
    )


def _more_repetitions_are_idle(row: Mapping[str, Any], folds: int) -> bool:
    """Whether the overlap, which repetitions leave as it is, makes up most of the variance of the difference."""
    return row["difference"]["standard_error"] is not None and row["difference"]["count"] > 5 * (folds - 1)


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
