"""What the evidence says of the claims.

In: evidence of each claim and data set. Out: a :class:`Verdict` each, with one correction over all tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.experiments.claims.claim import Claim
from pipeline.experiments.claims.evidence import LEVEL, Evidence
from pipeline.experiments.statistics import Estimate, estimate, holm, smallest_visible

Outcome = Literal["supported", "contradicted", "not shown", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim on one data set.

    Attributes:
        claim: The claim.
        data: The data set.
        outcome: ``supported`` and ``contradicted`` where the corrected test finds a difference of that sign; ``not
            shown`` where chance alone could make it.
        reason: Why it was skipped.
        n: What the result holds for.
        head: Mean accuracy of the model that is said to be better, ``reference`` of the other.
        difference: Of the two, with its interval.
        p_holm: Its p-value, raised for the number of all tests.
        smallest_visible: The smallest true difference that would be found four times in five.
        false_positives: How often the test, uncorrected, finds a difference in simulated studies without one.
        simulations: Their number.
    """

    claim: Claim
    data: str
    outcome: Outcome
    reason: str = ""
    n: str = ""
    head: float | None = None
    reference: float | None = None
    difference: Estimate | None = None
    p_holm: float | None = None
    smallest_visible: float | None = None
    false_positives: float | None = None
    simulations: int = 0

    @property
    def published_within(self) -> bool | None:
        """Whether the published difference lies in the interval; None where there is none."""
        found = self.difference
        if self.claim.effect is None or found is None or found.low is None or found.high is None:
            return None
        return found.low <= self.claim.effect / 100 <= found.high


def judge(
    found: Sequence[tuple[Claim, str, Evidence | str]], simulations: int, rates: Sequence[float | None]
) -> list[Verdict]:
    """Verdicts in the same order.

    Args:
        found: A claim, a data set, and the evidence or the reason why there is none.
        simulations: Simulated studies behind each rate.
        rates: How often each test errs on them.
    """
    differences = [
        estimate(each.differences, each.overlap) if isinstance(each, Evidence) else None for _, _, each in found
    ]
    raised = holm([None if each is None else each.p for each in differences])
    n_tests = sum(each is not None for each in differences)
    verdicts = []
    for (claim, data, evidence), difference, p, rate in zip(found, differences, raised, rates, strict=True):
        if isinstance(evidence, str) or difference is None:
            verdicts.append(Verdict(claim=claim, data=data, outcome="skipped", reason=str(evidence)))
            continue
        real = p is not None and p <= LEVEL
        verdicts.append(
            Verdict(
                claim=claim,
                data=evidence.data,
                outcome=("supported" if difference.mean > 0 else "contradicted") if real else "not shown",
                n=evidence.n,
                head=evidence.head,
                reference=evidence.reference,
                difference=difference.within(-1, 1),
                p_holm=p,
                smallest_visible=smallest_visible(difference, n_tests, most=1.0),
                false_positives=rate,
                simulations=simulations,
            )
        )
    return verdicts
