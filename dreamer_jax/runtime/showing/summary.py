"""What a set of scores says, in words that claim no more than it does."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit


def mean_interval(scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's confidence interval of the mean.

        mean ± t((1 + confidence)/2, n − 1) · s / √n

    It covers the true mean as often as it claims where means of n scores are about normal. Equal
    scores give a point, which says nothing about scores that were not seen.

    Args:
        scores: `[n]`; a single one gives no interval: (−∞, ∞).
        confidence: Probability that the interval claims.
    """
    number = len(scores)
    if number < 2:
        return -math.inf, math.inf
    mean, deviation = float(scores.mean()), float(scores.std(ddof=1))
    half = float(stdtrit(number - 1, (1 + confidence) / 2)) * deviation / math.sqrt(number)
    return mean - half, mean + half


def describe(scores: np.ndarray) -> str:
    """Return one line for people: mean, its interval, median, range.

    Args:
        scores: `[n]`, at least one.
    """
    if len(scores) == 1:
        return f"mean {readable(scores[0])} (too few for an interval), 1 episode"
    low, high = mean_interval(scores)
    mean, least, most = (readable(x, high - low) for x in (scores.mean(), low, high))
    return (
        f"mean {mean} (Student's 95% interval {least} to {most}), median "
        f"{readable(np.median(scores))}, range {readable(scores.min())} to "
        f"{readable(scores.max())}, {len(scores)} episodes"
    )


def readable(value: float, width: float = 0.0) -> str:
    """Return a number with four significant digits, and with two of the width of its interval.

    Whole parts stay whole: 12345.6 is 12346, and 0.04412 in an interval of 0.0004 is 0.04412.
    """
    places = max(_places(value, 4), _places(width, 2), 0)
    if places > 9 or abs(value) >= 1e15:
        return f"{value:.4g}"
    text = f"{value:.{places}f}"
    text = text.rstrip("0").rstrip(".") if places else text
    return "0" if text == "-0" else text


def _places(value: float, digits: int) -> int:
    """Return the decimal places that show so many significant digits of a value."""
    if value == 0 or not math.isfinite(value):
        return 0
    return digits - 1 - math.floor(math.log10(abs(value)))
