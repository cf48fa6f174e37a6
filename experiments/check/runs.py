"""The runs of a check, arms times seeds, on the sweep's local backend.

A run lies in `OUT/ARM/…/seedN`. Finished ones are kept, so that the same directory continues.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dreamer_jax.errors import UserError
from experiments.check.declare import Arm, Check, Measure
from experiments.check.verdict import Values
from experiments.sweep.local import visible_gpus
from experiments.sweep.plan import Run, plan
from experiments.sweep.progress import Progress

Runs = dict[str, dict[int, Run]]  # by arm and seed, arms with runs of their own


def plan_runs(check: Check, seeds: Sequence[int], out: Path) -> Runs:
    """Return the runs of every arm that has its own.

    Raises:
        UserError: For anything `train` would refuse.
    """
    runs: Runs = {}
    for name, arm in check.arms.items():
        if not arm.reads:
            found = _of_arm(check, name, arm, seeds, out)
            runs[name] = dict(zip(seeds, found, strict=True))
    return runs


def _of_arm(check: Check, name: str, arm: Arm, seeds: Sequence[int], out: Path) -> list[Run]:
    if arm.command is not None:
        folders = [out / name / f"seed{seed}" for seed in seeds]
        commands = [tuple(arm.command(*each)) for each in zip(folders, seeds, strict=True)]
        return [
            Run(name, seed, (), folder, command, steps=0, evaluates=False)
            for seed, folder, command in zip(seeds, folders, commands, strict=True)
        ]
    options = {key: str(value) for key, value in {**check.options, **arm.options}.items()}
    if "task" not in options:
        raise UserError(f"arm {name} has no option `task`")
    task = options.pop("task")
    runs = plan(out / name, check.preset, [task], seeds, list(options.items()))
    return [run._replace(varied=(("arm", name),)) for run in runs]


def default_jobs() -> int:
    """Return how many runs fit at a time: a GPU each, else a core each; they are small.

    0 leaves it to the backend.
    """
    if visible_gpus() or not hasattr(os, "sched_getaffinity"):
        return 0
    return len(os.sched_getaffinity(0))


def measure_runs(
    check: Check,
    runs: Runs,
    states: Mapping[Run, Progress],
    choose: Callable[[Arm], Measure],
    complain: Callable[[str], None],
) -> Values:
    """Return a number of every finished run by arm and seed, None where there is none.

    Args:
        check: What was stated.
        runs: From `plan_runs`.
        states: How every run ended.
        choose: Gives the measure of an arm.
        complain: Receives why a finished run has no number.
    """
    values: dict[str, dict[int, float | None]] = {}
    for name, arm in check.arms.items():
        values[name] = {}
        for seed, run in runs[arm.reads or name].items():
            values[name][seed] = None
            if states[run].state == "finished":
                try:
                    values[name][seed] = choose(arm)(run.logdir)
                except UserError as error:
                    complain(f"{name}, seed {seed}: {error}")
    return values
