"""What a check says on a terminal: what it states, every arm of every seed, intervals, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.check.declare import Check
from experiments.check.statistics import LEVEL, Interval
from experiments.check.verdict import Comparison, Values, Verdict

_RULES = {
    "S": "every interval of system − control above {margin:g}",
    "E": "every interval of system − control within ±{tolerance:g}, every saving above 0",
    "O": "none; the effect is reported",
}


def statement(name: str, check: Check, seeds: Sequence[int]) -> str:
    """Return what is stated before anything runs."""
    runs = len(seeds) * sum(not arm.reads for arm in check.arms.values())
    rule = _RULES[check.kind].format(margin=check.margin, tolerance=check.tolerance)
    return "\n".join(
        [
            f"{name} (class {check.kind}): {check.claim}",
            f"measure: {check.measured}",
            f"rule: {rule}",
            *(f"pair: {system} against its control {control}" for system, control in check.pairs),
            f"{runs} runs, budget {check.minutes:g} minutes on 2 cores",
        ]
    )


def conclusion(values: Values, costs: Values | None, verdict: Verdict) -> str:
    """Return every arm of every seed, the comparisons and the verdict."""
    parts = [_table(values)]
    parts += [_compared(each, "difference") for each in verdict.comparisons]
    if costs is not None:
        parts += ["cost", _table(costs)]
        parts += [_compared(each, "saving") for each in verdict.savings]
    return "\n".join([*parts, f"verdict: {verdict.word}"])


def listing(checks: Mapping[str, Check], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one line per check: name, class, budget, last result."""
    rows = [("check", "class", "budget", "last result")]
    for name, check in checks.items():
        result = results.get(name)
        last = f"{result['verdict']}, {result.get('date', 'no date')}" if result else "none"
        rows.append((name, check.kind, f"{check.minutes:g} min", last))
    return _aligned(rows)


def _table(values: Values) -> str:
    seeds = next(iter(values.values())).keys()
    rows = [("arm", *(f"seed {seed}" for seed in seeds), "mean")]
    for name, row in values.items():
        numbers = [value for value in row.values() if value is not None]
        mean = sum(numbers) / len(numbers) if len(numbers) == len(row) else None
        rows.append((name, *(_number(value) for value in row.values()), _number(mean)))
    return _aligned(rows)


def _compared(comparison: Comparison, what: str) -> str:
    differences = " ".join(f"{value:+.4g}" for value in comparison.differences.values())
    share = f"{100 * LEVEL:.0f} %"
    return (
        f"{comparison.system} − {comparison.control}, {what}: mean {comparison.mean:+.4g} "
        f"of {differences}\n"
        f"  {share} intervals: bootstrap {_ends(comparison.bootstrap)}, "
        f"Student {_ends(comparison.student)}; judged by {_ends(comparison.interval)}"
    )


def _ends(interval: Interval) -> str:
    return f"[{interval.low:.4g}, {interval.high:.4g}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
