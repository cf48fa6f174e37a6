"""From what the arms measured to a verdict, by the rule of the check's class.

A verdict is `shown`, `not shown`, `reported` (class O), or `incomplete` where a run has no value: a
seed that failed is never left out of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from experiments.check.declare import Check
from experiments.check.statistics import Interval, bootstrap_interval, cautious, t_interval

Word = Literal["shown", "not shown", "reported", "incomplete"]
# Values by arm and seed; None where a run has none.
Values = Mapping[str, Mapping[int, float | None]]


class Comparison(NamedTuple):
    """System minus control over paired seeds."""

    system: str
    control: str
    differences: dict[int, float]
    mean: float
    bootstrap: Interval
    student: Interval
    interval: Interval  # the more cautious at each end; what the verdict reads


class Verdict(NamedTuple):
    """What a check has come to."""

    word: Word
    comparisons: list[Comparison]  # of the measure
    savings: list[Comparison]  # of the cost with its sign reversed, class E only


def judge(check: Check, values: Values, costs: Values | None = None) -> Verdict:
    """Apply the rule of the check's class to what was measured.

    Args:
        check: What was stated.
        values: Of the measure.
        costs: Of the cost, for class E.
    """
    if _has_gaps(values) or (check.kind == "E" and (costs is None or _has_gaps(costs))):
        return Verdict("incomplete", [], [])
    comparisons = [compare(values, *pair) for pair in check.pairs]
    if check.kind == "O":
        return Verdict("reported", comparisons, [])
    if check.kind == "S":
        holds = all(each.interval.low > check.margin for each in comparisons)
        return Verdict("shown" if holds else "not shown", comparisons, [])
    assert costs is not None and check.tolerance is not None
    saved = {arm: {s: -v for s, v in row.items() if v is not None} for arm, row in costs.items()}
    savings = [compare(saved, *pair) for pair in check.pairs]
    equal = all(
        -check.tolerance <= each.interval.low and each.interval.high <= check.tolerance
        for each in comparisons
    )
    holds = equal and all(each.interval.low > 0 for each in savings)
    return Verdict("shown" if holds else "not shown", comparisons, savings)


def compare(values: Values, system: str, control: str) -> Comparison:
    """Compare two arms over their seeds, all of which have values."""
    differences: dict[int, float] = {}
    for seed, value in values[system].items():
        against = values[control][seed]
        assert value is not None and against is not None, (system, control, seed)
        differences[seed] = value - against
    numbers = list(differences.values())
    bootstrap, student = bootstrap_interval(numbers), t_interval(numbers)
    mean = sum(numbers) / len(numbers)
    interval = cautious(bootstrap, student)
    return Comparison(system, control, differences, mean, bootstrap, student, interval)


def _has_gaps(values: Values) -> bool:
    return any(value is None for row in values.values() for value in row.values())
