"""Intervals of paired differences, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.check.statistics import Interval, bootstrap_interval, cautious, t_interval


def test_students_interval_by_hand():
    """1 … 5: mean 3, s = √2.5, t(0.975, 4) = 2.776445, half width 2.776445 · √(2.5 / 5)."""
    low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert low == pytest.approx(3 - 1.963243, abs=1e-6)
    assert high == pytest.approx(3 + 1.963243, abs=1e-6)


def test_the_bootstrap_of_two_is_known_exactly():
    """Means of two draws from {0, 1}: 0, ½ and 1 with ¼, ½, ¼, so both percentiles are the ends."""
    assert bootstrap_interval([0.0, 1.0]) == Interval(0.0, 1.0)


def test_the_bootstrap_of_five_is_near_the_enumeration_of_all_draws():
    values = [-1.0, 0.5, 2.0, 3.0, 7.0]
    means = np.stack(np.meshgrid(*[values] * 5)).reshape(5, -1).mean(0)  # 3,125 equally likely
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(bootstrap_interval(values), expected, atol=0.25)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_the_bootstrap_of_five_is_the_narrower():
    """The reason why a verdict does not rest on it: it covers 95 % far too rarely at n = 5."""
    rng = np.random.default_rng(0)
    covered = {t_interval: 0, bootstrap_interval: 0}
    for _ in range(200):
        sample = rng.normal(0, 1, 5).tolist()
        for interval in covered:
            low, high = interval(sample)
            covered[interval] += low <= 0 <= high
    assert covered[t_interval] >= 182  # 190 expected, deviation 3
    assert covered[bootstrap_interval] <= 176


def test_equal_differences_leave_no_width_and_one_difference_says_nothing():
    assert t_interval([2.0, 2.0, 2.0]) == bootstrap_interval([2.0, 2.0, 2.0]) == Interval(2, 2)
    assert t_interval([2.0]) == bootstrap_interval([2.0]) == Interval(-math.inf, math.inf)


def test_the_cautious_interval_contains_both():
    assert cautious(Interval(0, 3), Interval(-1, 2)) == Interval(-1, 3)
