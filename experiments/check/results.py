"""Results of checks as JSON: `{name: result}`, one file for one check or for many.

A result holds all that was stated and measured, with command, versions and date. Where an interval
is infinite its end is null.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dreamer_jax.errors import UserError
from dreamer_jax.files import replacing
from experiments.check.declare import Check
from experiments.check.verdict import Comparison, Values, Verdict

_PACKAGES = ("jax", "flax", "numpy")
Results = dict[str, dict[str, Any]]


def to_json(
    check: Check, command: str, values: Values, costs: Values | None, verdict: Verdict
) -> dict[str, Any]:
    """Return everything that was stated and measured."""
    return {
        "verdict": verdict.word,
        "claim": check.claim,
        "class": check.kind,
        "measure": check.measured,
        "margin": check.margin,
        "tolerance": check.tolerance,
        "budget_minutes": check.minutes,
        "preset": check.preset,
        "options": dict(check.options),
        "arms": {
            name: {"options": dict(arm.options), "reads": arm.reads, "values": values[name]}
            for name, arm in check.arms.items()
        },
        "costs": costs,
        "comparisons": [_comparison(each) for each in verdict.comparisons],
        "savings": [_comparison(each) for each in verdict.savings],
        "command": command,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "date": time.strftime("%Y-%m-%d"),
    }


def write_result(path: Path, name: str, result: Mapping[str, Any]) -> None:
    """Put a result into a file, in the place of an older one of the same check."""
    known = _read(path) if path.exists() else {}
    with replacing(path) as temp:
        # Parsed back first: JSON knows no integer keys, which sorting could not compare.
        whole = json.loads(json.dumps({**known, name: result}, allow_nan=False))
        temp.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Return the results of a file, or of all `.json` files of a folder; none if it is not there.

    Raises:
        UserError: If a file holds something else.
    """
    results: Results = {}
    files = sorted(path.glob("*.json")) if path.is_dir() else [path] if path.exists() else []
    for file in files:
        results |= _read(file)
    return results


def _read(path: Path) -> Results:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(results, dict) or not all(
        isinstance(each, dict) and "verdict" in each for each in results.values()
    ):
        raise UserError(f"{path} does not hold results of checks by name; choose another file")
    return results


def _comparison(comparison: Comparison) -> dict[str, Any]:
    intervals = ("bootstrap", "student", "interval")
    return {
        **comparison._asdict(),
        **{
            name: [end if math.isfinite(end) else None for end in getattr(comparison, name)]
            for name in intervals
        },
    }
