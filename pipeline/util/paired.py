"""The interval of a difference of two accuracies on the same images."""

from __future__ import annotations

import math

import numpy as np


def paired_difference95(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the difference of two accuracies on the same images.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17, 2635 (1998), method 10.

    Args:
        first: Whether the first head is right on each image, bool of shape (N,). Or, of a head that answers at random,
            the share of its draws that is: then counts are expected ones, and the interval is wider than needed,
            because a mean of draws varies less than one draw.
        second: Likewise of the second head.
    """
    first, second = first.astype(float), second.astype(float)
    n, shares = len(first), (float(first.mean()), float(second.mean()))
    both, neither = float(first @ second), float((1 - first) @ (1 - second))
    only_first, only_second = float(first @ (1 - second)), float((1 - first) @ second)
    (low1, high1), (low2, high2) = (_wilson95(share, n) for share in shares)
    margins = math.prod(n * share for share in shares) * math.prod(n * (1 - share) for share in shares)
    together = both * neither - only_first * only_second
    corrected = max(together - n / 2, 0) if together > 0 else together
    correlation = corrected / math.sqrt(margins) if margins > 0 else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))

    difference = shares[0] - shares[1]
    return (
        difference - reach(shares[0] - low1, high2 - shares[1]),
        difference + reach(high1 - shares[0], shares[1] - low2),
    )


def _wilson95(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of n, which need not be a whole number of them."""
    from scipy.stats import norm

    z = float(norm.ppf(0.975))
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
