"""How far a run is, read from its directory: state, policy steps, score.

An attempt's record (attempt.py) tells how it ended. A run that no sweep started, such as one from
the printed list, has none: it is finished if its metrics reach the end, its evaluation included.

The score of a finished run is its last `eval/score` if it was evaluated, otherwise the mean of
`episode/score` over the last tenth of its steps; before that, the newest `episode/score`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.metrics import read_rows
from experiments.sweep.attempt import STOPPED, Record, json_lines, read_record, tail
from experiments.sweep.orphan import is_locked
from experiments.sweep.plan import Run

State = Literal["waiting", "running", "stopped", "finished", "failed"]
Row = Mapping[str, Any]
_TAIL = 1 << 18  # bytes; some tens of rows


class Progress(NamedTuple):
    """What a table shows of a run."""

    state: State  # `running` also for an attempt that was lost with its machine
    policy_steps: int
    score: float | None
    exit_code: int | None  # of the latest attempt


def read_progress(run: Run) -> Progress:
    """Return state and progress."""
    record, metrics = read_record(run.logdir), RunDir(run.logdir).metrics
    # Of one that is running only the end, because it is asked again and again.
    rows = json_lines(tail(metrics, _TAIL)) if metrics.is_file() else []
    steps = rows[-1]["policy_steps"] if rows else 0
    state = _recorded(record, run) if record else _unrecorded(run, rows, steps)
    if state == "finished" and metrics.is_file():
        score = final_score(list(read_rows(metrics)))
    else:
        score = _last(rows, "episode/score")
    return Progress(state, steps, score, record.exit_code if record else None)


def _recorded(record: Record, run: Run) -> State:
    if record.exit_code is None:
        return "running"
    if record.exit_code == 0:
        return "finished" if record.steps >= run.steps else "waiting"  # it was extended
    return "stopped" if record.exit_code in STOPPED else "failed"


def _unrecorded(run: Run, rows: Sequence[Row], steps: int) -> State:
    if is_locked(run.logdir):
        return "running"
    if not rows:
        return "waiting"
    evaluated = not run.evaluates or _last(rows, "eval/score") is not None
    return "finished" if steps >= run.steps and evaluated else "stopped"


def final_score(rows: Sequence[Row]) -> float | None:
    """Return the score of a whole run, None if no episode ended."""
    evaluated = _last(rows, "eval/score")
    if evaluated is not None or not rows:
        return evaluated
    start = 0.9 * rows[-1]["policy_steps"]
    late = [row["episode/score"] for row in rows if row["policy_steps"] > start and has_score(row)]
    return sum(late) / len(late) if late else _last(rows, "episode/score")


def has_score(row: Row, name: str = "episode/score") -> bool:
    """Return whether a row holds this score as a number; null stands for not finite."""
    return row.get(name) is not None and math.isfinite(row[name])


def _last(rows: Sequence[Row], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if has_score(row, name)), None)
