"""Numbers of a finished run directory, from its `metrics.jsonl` and `config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.metrics import read_rows
from experiments.check.declare import Measure
from experiments.sweep.progress import has_score


def last(name: str) -> Measure:
    """Return the measure that reads the last value of a metric, such as `eval/score`."""
    return lambda run: _values(run, name)[-1]


def late_mean(name: str, share: float = 0.25) -> Measure:
    """Return the measure that averages a metric over the rows of the last share of all steps."""

    def measure(run: Path) -> float:
        start = (1 - share) * _rows(run)[-1]["policy_steps"]
        late = _values(run, name, start)
        return sum(late) / len(late)

    return measure


def option(run: Path, key: str) -> Any:
    """Return a value of the run's config by its dotted key."""
    value = json.loads(RunDir(run).config.read_text(encoding="utf-8"))
    for part in key.split("."):
        value = value[part]
    return value


def _values(run: Path, name: str, start: float = -1) -> list[float]:
    """Return the finite values of a metric in rows after policy step `start`."""
    rows = [row for row in _rows(run) if row["policy_steps"] > start and has_score(row, name)]
    if not rows:
        raise UserError(f"{RunDir(run).metrics} holds no {name} after step {max(start, 0):.0f}")
    return [float(row[name]) for row in rows]


def _rows(run: Path) -> list[dict[str, Any]]:
    metrics = RunDir(run).metrics
    rows = [dict(row) for row in read_rows(metrics)] if metrics.is_file() else []
    if not rows:
        raise UserError(f"there are no metrics in {run}")
    return rows
