"""`dreamer-jax score RUN [RUN …]`: the benchmark's own score of each run, from its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.rundir import RunDir, read_task
from dreamer_jax.runtime.showing.metrics import read_rows
from dreamer_jax.scores.bsuite import scores, totals
from dreamer_jax.scores.crafter import achievement_rates, crafter_score


def main(arguments: Sequence[str]) -> int:
    """Print the score of every run directory; BSuite's experiments are scored over their runs."""
    if not arguments or any(argument.startswith("-") for argument in arguments):
        raise UserError("score needs run directories: score RUN [RUN …]")
    settings: dict[str, dict[str, np.ndarray]] = {}
    for argument in arguments:
        rundir = RunDir(Path(argument))
        task = read_task(rundir)
        suite, _, name = task.partition(":")
        if suite == "crafter":
            print(f"{argument}: {task}")
            print_crafter(rundir)
        elif suite == "bsuite":
            if name in settings:
                raise UserError(f"{argument} is a second run of {task}; score each seed apart")
            settings[name] = totals(read_rows(rundir.metrics))
        else:
            raise UserError(
                f"{argument} is a run of {task}, which has no score but its return; "
                "scored are crafter and bsuite"
            )
    if settings:
        for experiment, score in scores(settings).items():
            state = "" if score.finished else ", not all episodes done"
            print(f"{experiment}: {score.score:.3f} over {score.settings} settings{state}")
    return 0


def print_crafter(rundir: RunDir) -> None:
    """Print the rates of all achievements, and the score that they make."""
    rates = achievement_rates(read_rows(rundir.metrics))
    for name, rate in rates.items():
        print(f"  {name:22} {rate:6.2f} %")
    print(f"  Crafter score {crafter_score(rates.values()):.2f} %")
