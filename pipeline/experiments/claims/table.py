"""The claims, their verdicts and the figure as a document.

In: verdicts. Out: a ``Document`` and a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot as plt

from pipeline.experiments.claims.config import ClaimsConfig
from pipeline.experiments.claims.verdict import Outcome, Verdict
from pipeline.experiments.compare.figure import draw_interval, draw_missed, reach
from pipeline.experiments.compare.words import Unit, p_value
from pipeline.pages.document import Document, Figure, Part, Points, Section, Table
from pipeline.util.drawing import BLUE, INK, ORANGE, PURPLE, Drawing, legend_below
from pipeline.util.markdown import listed

UNIT = Unit("accuracy")
COLOURS: dict[Outcome, tuple[str, str]] = {
    "supported": (ORANGE, "s"),
    "contradicted": (PURPLE, "v"),
    "not shown": (BLUE, "o"),
}


def document_of(verdicts: Sequence[Verdict], config: ClaimsConfig, seconds: float) -> Document:
    """Lead, table, figure, the claims in full, and how to read it; to be made inside ``drawing.style()``."""
    done = [each for each in verdicts if each.outcome != "skipped"]
    verdict: list[Part] = [_table(verdicts)]
    if done:
        caption = "Differences with 95 % intervals; grey: true differences that this study would often miss."
        verdict.insert(0, Figure("claims", _drawing(done), caption))
    return Document(
        "Published claims, put to the test",
        _lead(verdicts),
        [
            Section("Verdicts", verdict),
            Section("The claims", [Points(_claims(verdicts))]),
            Section("How to read this", [Points(_notes(config, len(done)))]),
        ],
        made=f"{config.seeds} repetitions, seeds from {config.seed} on; {seconds:.0f} s.",
    )


def _lead(verdicts: Sequence[Verdict]) -> str:
    parts = []
    for outcome in ("supported", "contradicted", "not shown", "skipped"):
        names = [f"{each.claim.name} ({each.data})" for each in verdicts if each.outcome == outcome]
        if names:
            parts.append(f"{outcome}: {listed(names)}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _table(verdicts: Sequence[Verdict]) -> Table:
    heading = ["claim", "data", "verdict", "n", "said better, %", "the other, %", "difference", "95 %", "p, Holm"]
    rows = [[*heading, "published", "visible from", "false positives"]]
    for each in verdicts:
        published = "–" if each.claim.effect is None else f"{each.claim.effect:+.1f}"
        cells = [each.claim.name, each.data, each.outcome, each.n]
        if each.head is None or each.reference is None or each.difference is None:
            rows.append([*cells, "", "", "", "", "", published, "", ""])
            continue
        cells += [UNIT.value(each.head), UNIT.value(each.reference), UNIT.difference(each.difference.mean)]
        cells += [UNIT.interval(each.difference, signed=True), p_value(each.p_holm)]
        outside = " (outside)" if each.published_within is False else ""
        cells += [published + outside, "–" if each.smallest_visible is None else UNIT.value(each.smallest_visible)]
        rows.append([*cells, "–" if each.false_positives is None else f"{100 * each.false_positives:.1f} %"])
    return Table("Claims and verdicts; differences in points of accuracy", rows, left=4)


def _claims(verdicts: Sequence[Verdict]) -> list[str]:
    texts = {}
    for each in verdicts:
        claim = each.claim
        says = f" Published: {claim.says}." if claim.says else ""
        changed = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in claim.settings.items())
        sizes = f", over {listed(list(map(str, claim.sizes)))} a class" if claim.sizes else ""
        tested = f" Tested: {claim.head} against {claim.reference}{sizes}{f', {changed}' if changed else ''}."
        texts[claim.name] = f"{claim.name}: {claim.statement} ({claim.source}.){says}{tested}"
    skipped = [f"{each.claim.name} skipped: {each.reason}" for each in verdicts if each.outcome == "skipped"]
    return [*texts.values(), *skipped]


def _notes(config: ClaimsConfig, n_tests: int) -> list[str]:
    return [
        f"Supported, contradicted: a two-sided test finds the difference at 5 %, raised by Holm for all {n_tests} "
        "tests of this table. Not shown: chance alone could make it; that is no proof that nothing differs.",
        f"Cross-validated claims: {config.seeds} repetitions of {config.folds} folds, both models on the same rows "
        "with the same seeds, last epoch, Nadeau and Bengio's correction for overlap. Spirals: points drawn anew for "
        "every seed, a paired t-test.",
        "Published: the difference as printed, in points; outside: of our interval.",
        "Visible from: the smallest true difference that the corrected test finds four times in five.",
        f"False positives: how often the test finds a difference, at 5 % uncorrected, in {config.simulations} "
        "simulated studies of the same shape in which both models are equally good and about as good as here. "
        "Nearest-mean classifiers on points that are drawn; of spirals, the differences found with signs at random.",
        "What holds here holds for these data, these heads and these hyperparameters; the papers used others.",
    ]


def _drawing(verdicts: Sequence[Verdict]) -> Drawing:
    """A row a claim and data set: the difference with its interval, and the published one."""
    figure, axis = plt.subplots(figsize=(9, 2.4 + 0.5 * len(verdicts)), layout="constrained")
    axis.axvline(0, color=INK, linewidth=1)
    words = []
    for place, each in enumerate(verdicts):
        found = each.difference
        assert found is not None
        if each.smallest_visible is not None:
            draw_missed(axis, each.smallest_visible, place, UNIT, label="would often be missed")
        colour, marker = COLOURS[each.outcome]
        draw_interval(axis, found, place, UNIT, color=colour, marker=marker, label=each.outcome)
        if each.claim.effect is not None:
            hollow: Any = {"linestyle": "", "marker": "D", "color": INK, "markerfacecolor": "none"}
            axis.plot([each.claim.effect], [place], **hollow, label="published")
        words.append(f"{each.claim.name} on {each.data} {UNIT.difference(found.mean)}, {each.outcome}")
    axis.set_yticks(range(len(verdicts)), [f"{each.claim.name}\n{_short(each.data)}" for each in verdicts], fontsize=8)
    axis.set_ylim(len(verdicts) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("difference to the other model, points")
    shown = [each.difference for each in verdicts if each.difference is not None]
    axis.set_xlim(*reach(shown, UNIT.scale, [each.claim.effect / 100 for each in verdicts if each.claim.effect]))
    legend_below(figure)
    return Drawing(figure, f"Differences in points with their intervals: {'; '.join(words)}.", keeps_height=True)


def _short(data: str) -> str:
    return data if len(data) <= 32 else f"{data[:31]}…"
