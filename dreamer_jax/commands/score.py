"""`dreamer-jax score RUN [RUN …]`: the benchmark's own score of each run, from its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.crafter_score import achievement_rates, crafter_score
from dreamer_jax.runtime.metrics import read_rows
from dreamer_jax.runtime.rundir import RunDir, read_config


def main(arguments: Sequence[str]) -> int:
    """Print the score of every run directory."""
    if not arguments or any(argument.startswith("-") for argument in arguments):
        raise UserError("score needs run directories: score RUN [RUN …]")
    for argument in arguments:
        rundir = RunDir(Path(argument))
        task = read_config(rundir)["task"]
        suite = task.partition(":")[0]
        if suite not in SCORES:
            raise UserError(
                f"{argument} is a run of {task}, which has no score but its return; "
                f"scored are {', '.join(SCORES)}"
            )
        print(f"{argument}: {task}")
        for line in SCORES[suite](rundir):
            print(f"  {line}")
    return 0


def _crafter(rundir: RunDir) -> list[str]:
    rates = achievement_rates(read_rows(rundir.metrics))
    lines = [f"{name:22} {rate:6.2f} %" for name, rate in rates.items()]
    return [*lines, f"Crafter score {crafter_score(rates.values()):.2f} %"]


SCORES: dict[str, Callable[[RunDir], list[str]]] = {"crafter": _crafter}
