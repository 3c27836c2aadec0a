"""Statistics of accuracies: intervals, paired tests, effect sizes, and the smallest difference that would be seen.

Two corrections, for two different things:

- *Nadeau and Bengio's*, for overlap. The training sets of k-fold cross-validation overlap, and so do, over repetitions,
  the test sets; so the k · r accuracies are not independent, and an ordinary t-test takes them for more evidence than
  they are. Their variance is multiplied by 1/J + n_test/n_train instead of 1/J, J being their number. The second term
  stays however many repetitions are added: the images do not become more.
- *Holm's*, for many tests at once: with six heads against one, the chance that some difference looks real is no longer
  5 %. Their p-values are raised so that it is at most that.

On the published split the images stay the same and only seeds differ; these are independent, so there the ordinary
paired t-test holds, but what it tells is about further seeds on these very images, not about other images.

Sources: C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 239 (2003), section 3;
R. R. Bouckaert, E. Frank, "Evaluating the replicability of significance tests for comparing learning algorithms", PAKDD
2004, for r-times repeated k-fold; S. Holm, Scandinavian Journal of Statistics 6, 65 (1979); H. S. Bloom, "Minimum
detectable effects", Evaluation Review 19, 547 (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE = 0.95
POWER = 0.8
ENOUGH_SEEDS = 5
# Accuracies are ratios of small whole numbers; what differs by less is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its interval. What can't be estimated is None: intervals of one value, tests of values all alike.

    Attributes:
        mean: The mean.
        low: Lower end of the 95 % interval.
        high: Its upper end.
        standard_error: Of the mean, corrected for overlap.
        p: Two-sided p-value of the mean being 0.
        effect_size: Mean over standard deviation: Cohen's d of paired differences.
        count: The number of values.
    """

    mean: float
    low: float | None
    high: float | None
    standard_error: float | None
    p: float | None
    effect_size: float | None
    count: int

    def within(self, least: float, most: float) -> Estimate:
        """The same with the ends of its interval between those of the values: no difference is above 1."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def estimate(values: Sequence[float] | np.ndarray, overlap: float) -> Estimate:
    """The corrected resampled t-test and its interval, for accuracies or paired differences.

    Args:
        values: One a fold and repetition, shape (J,).
        overlap: n_test / n_train of a fold; 0 for independent values, which gives the ordinary t-test.

    Raises:
        ValueError: If there is no value.
    """
    from scipy.stats import t

    array = np.asarray(values, dtype=float)
    if not array.size:
        raise ValueError("no values to estimate from")
    mean, count = float(array.mean()), array.size
    if count == 1:
        return Estimate(mean=mean, low=None, high=None, standard_error=None, p=None, effect_size=None, count=count)
    if np.ptp(array) < _ROUNDING:
        # Without any spread there is nothing to judge a difference by; but no difference at all is none.
        none = abs(mean) < _ROUNDING
        return Estimate(
            mean=mean,
            low=mean if none else None,
            high=mean if none else None,
            standard_error=0.0 if none else None,
            p=1.0 if none else None,
            effect_size=0.0 if none else None,
            count=count,
        )
    deviation = float(array.std(ddof=1))
    error = deviation * float(np.sqrt(1 / count + overlap))
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Estimate(
        mean=mean,
        low=mean - half,
        high=mean + half,
        standard_error=error,
        p=float(2 * t.sf(abs(mean) / error, count - 1)),
        effect_size=mean / deviation,
        count=count,
    )


def on_logit_scale(found: Estimate, least: float, most: float) -> Estimate:
    """The same with an interval that lies between what the values can be: symmetric on the scale of the logit, or of
    the logarithm where there is no largest value, by the delta method.

    Near the ends it is wider to the inside, as it should be. A mean that is itself an end has no such interval.

    Source: A. Agresti, "Categorical Data Analysis", 3rd edition (2013), sections 1.4 and 3.1, of proportions.

    Args:
        found: The estimate.
        least: The smallest value there can be.
        most: The largest; may be infinite.
    """
    from scipy.special import expit, logit

    if found.low is None or found.high is None or not least < found.mean < most:
        return found.within(least, most)
    half = found.high - found.mean
    if np.isinf(most):
        factor = float(np.exp(half / (found.mean - least)))
        return replace(found, low=least + (found.mean - least) / factor, high=least + (found.mean - least) * factor)
    share = (found.mean - least) / (most - least)
    reach = half / (most - least) / (share * (1 - share))
    low, high = (least + (most - least) * float(expit(logit(share) + sign * reach)) for sign in (-1, 1))
    return replace(found, low=low, high=high)


def too_few(seeds: int) -> str:
    """A warning for intervals over few seeds; empty from ``ENOUGH_SEEDS`` on."""
    from scipy.stats import t

    if seeds >= ENOUGH_SEEDS:
        return ""
    if seeds == 1:
        return "1 seed has no spread, so there are no intervals over seeds: give --seeds 5 or more (make: SEEDS=5)."
    few, many = (t.ppf((1 + CONFIDENCE) / 2, count - 1) for count in (seeds, 20))
    return (
        f"{seeds} seeds are too few for intervals over seeds: these reach {few:.1f} standard errors to either side, "
        f"those of 20 seeds {many:.1f}. An interval such as 0.000 to 1.000 says nothing about the model: give "
        f"--seeds {ENOUGH_SEEDS} or more (make: SEEDS={ENOUGH_SEEDS})."
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values raised for their number by Holm's step-down method; None stays None and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def smallest_visible(found: Estimate, comparisons: int, most: float = np.inf) -> float | None:
    """The smallest true difference that the test would find in 80 % of such comparisons, in the values' unit; ``most``,
    the largest that there can be, where it would find none.

    Bloom's multiple of the standard error: the quantile beyond which the first of Holm's steps rejects, at a level of
    5 % over all comparisons, plus that of the power.
    """
    from scipy.stats import t

    if not found.standard_error:
        return None
    quantiles = t.ppf([1 - (1 - CONFIDENCE) / (2 * comparisons), POWER], found.count - 1)
    return min(float(quantiles.sum()) * found.standard_error, most)
