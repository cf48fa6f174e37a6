"""Intervals of a mean of paired differences, two ways.

With five seeds the percentile bootstrap is too narrow: it resamples five numbers, so that it never
sees a spread beyond theirs, and its variance is (n − 1)/n of the right one. Student's interval
pays for the unknown variance, but assumes normal differences. A verdict uses the wider at each end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
_DRAWS = 10_000


class Interval(NamedTuple):
    """A confidence interval; infinite where the number of differences allows none."""

    low: float
    high: float


def t_interval(differences: Sequence[float]) -> Interval:
    """Return Student's interval: mean ± t(0.975, n − 1) · s / √n."""
    number = len(differences)
    if number < 2:
        return Interval(-math.inf, math.inf)
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, number - 1)) * deviation / math.sqrt(number)
    return Interval(mean - half, mean + half)


def bootstrap_interval(differences: Sequence[float]) -> Interval:
    """Return the percentiles 2.5 and 97.5 of means of resampled differences; always the same."""
    if len(differences) < 2:
        return Interval(-math.inf, math.inf)
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.asarray(differences, np.float64), (_DRAWS, len(differences)))
    low, high = np.quantile(drawn.mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def cautious(one: Interval, other: Interval) -> Interval:
    """Return the interval that contains both."""
    return Interval(min(one.low, other.low), max(one.high, other.high))
