"""What all runs of a sweep measured, as one table: `results.jsonl` and `results.csv`.

One row per scored row of a run's metrics: task, seed, every varied option under its own name, the
x-axes, the score, and whether it is of training episodes (`episode`) or of the evaluation (`eval`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamer_jax.files import replacing
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.metrics import read_rows
from experiments.sweep.plan import Run
from experiments.sweep.progress import has_score

AXES = ("env_steps", "policy_steps", "grad_steps")
KINDS = ("episode", "eval")


def gather(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the rows of all runs that have scores, in the order of the runs."""
    table = []
    for run in runs:
        metrics = RunDir(run.logdir).metrics
        for row in read_rows(metrics) if metrics.is_file() else ():
            for kind in KINDS:
                if has_score(row, f"{kind}/score"):
                    table.append(
                        {"task": run.task, "seed": run.seed, **dict(run.varied)}
                        | {axis: row[axis] for axis in AXES}
                        | {"score": row[f"{kind}/score"], "kind": kind}
                    )
    return table


def write_results(out: Path, table: Sequence[dict[str, Any]]) -> None:
    """Write both files, each whole or as it was before."""
    with replacing(out / "results.jsonl") as temp:
        temp.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    with replacing(out / "results.csv") as temp, temp.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]) if table else ["task", "seed"])
        writer.writeheader()
        writer.writerows(table)
