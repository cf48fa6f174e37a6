"""`python -m experiments.sweep --config=PRESET --tasks=A,B --seeds=0,1 --out=DIR [--option=…]`.

Runs every task with every seed, and with every combination of `--vary=KEY=V1,V2` options; each is
`python -m dreamer_jax train … --logdir=DIR/TASK/seedN`. The same command continues: finished runs
are skipped, stopped ones go on, failed ones are shown and tried again with --retry. Ctrl-C lets all
runs checkpoint. DIR gets `results.jsonl`, `results.csv` and `curves.png` in the end.

Exit codes: 0 all finished, 75 stopped but resumable, 2 bad input, 1 a run failed.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from dreamer_jax.errors import RESUMABLE, UserError
from dreamer_jax.runtime.saving.lock import RunLock
from dreamer_jax.runtime.showing.media import without_pictures
from dreamer_jax.runtime.signals import StopRequest
from experiments.command_line import exit_with
from experiments.sweep.backend import Backend
from experiments.sweep.local import LocalBackend
from experiments.sweep.plan import Override, Run, parse_seeds, parse_vary, plan, split_values
from experiments.sweep.plot import draw_curves
from experiments.sweep.printed import command_lines
from experiments.sweep.progress import read_progress
from experiments.sweep.results import gather, write_results
from experiments.sweep.schedule import Schedule
from experiments.sweep.table import Screen, failures, render

BACKENDS = ("local", "slurm", "ray", "print")
SHOW_SECONDS = 2.0
_OVERRIDE = re.compile(r"--config\.([^=]+)=(.*)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sweep; return the exit code.

    Raises:
        UserError: For anything that no run could use.
    """
    args, fixed = parse(sys.argv[1:] if arguments is None else arguments)
    tasks, seeds = split_values(args.tasks), parse_seeds(args.seeds)
    if not tasks:
        raise UserError("--tasks is empty; name tasks as SUITE:NAME, separated by commas")
    varied = parse_vary(args.vary)
    runs = plan(args.out, args.config, tasks, seeds, fixed, varied)
    if args.backend == "print":
        left = [run for run in runs if read_progress(run).state != "finished"]
        print("\n".join(command_lines(left)))
        return 0
    if args.status:
        return conclude(args.out, runs, {run: read_progress(run) for run in runs}, stopped=False)
    with RunLock(args.out), closing(make_backend(args)) as backend:
        # After the backend: Ray handles signals in its own way, once it is started.
        with StopRequest() as stop:
            schedule = Schedule(runs, backend, args.retry)
            follow(schedule, backend.poll_seconds, stop)
        return conclude(args.out, runs, schedule.states(), stop.requested)


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[Override]]:
    """Read the command line; return it and the overrides `--config.key=value`."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--config", default="default", help="preset, or path of a config file")
    parser.add_argument("--tasks", required=True, help="SUITE:NAME, several with commas")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2 or 0-4")
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=V1,V2")
    parser.add_argument("--out", type=Path, required=True, help="directory of the sweep")
    parser.add_argument("--backend", choices=BACKENDS, default="local")
    parser.add_argument(
        "--jobs", type=int, default=0, help="runs at a time; 0: what there is room for"
    )
    parser.add_argument("--resources", default="", help="KEY=VALUE,… for slurm or ray, per run")
    parser.add_argument("--retry", action="store_true", help="start failed runs again")
    parser.add_argument("--status", action="store_true", help="show and gather only, run nothing")
    overrides = [_OVERRIDE.fullmatch(argument) for argument in arguments]
    rest = [a for a, found in zip(arguments, overrides, strict=True) if not found]
    return parser.parse_args(rest), [(found[1], found[2]) for found in overrides if found]


def make_backend(args: argparse.Namespace) -> Backend:
    """Build the backend that was asked for, importing only that one's packages."""
    if args.jobs < 0:
        raise UserError(f"--jobs={args.jobs}; it is a number of runs, or 0")
    if args.resources and args.backend == "local":
        raise UserError("--resources are asked of slurm or ray; the local backend takes --jobs")
    resources = parse_resources(args.resources)
    if args.backend == "slurm":
        from experiments.sweep.slurm import SlurmBackend

        return SlurmBackend(args.out, args.jobs, resources)
    if args.backend == "ray":
        from experiments.sweep.on_ray import RayBackend

        return RayBackend(args.jobs, resources)
    return LocalBackend(args.jobs)


def parse_resources(text: str) -> dict[str, int | float | str]:
    """Read `KEY=VALUE,…`; numbers become numbers."""
    resources: dict[str, int | float | str] = {}
    for part in split_values(text):
        key, _, value = part.partition("=")
        if not key or not value:
            raise UserError(f"--resources={text}: write KEY=VALUE, separated by commas")
        kinds = [kind for kind in (int, float) if _reads_as(kind, value)]
        resources[key] = kinds[0](value) if kinds else value
    return resources


def _reads_as(kind: Callable[[str], float], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def follow(schedule: Schedule, poll_seconds: float, stop: StopRequest) -> None:
    """Advance the schedule to its end, or to a stop, and show the states meanwhile."""
    screen, shown = Screen(sys.stdout), -math.inf
    while not schedule.over:
        if stop.requested:
            schedule.stop()
        # Reading every run's metrics costs more than asking whether a process lives.
        if schedule.advance() or time.monotonic() - shown > SHOW_SECONDS:
            screen.show(schedule.states())
            shown = time.monotonic()
        time.sleep(poll_seconds)


def conclude(out: Path, runs: Sequence[Run], states: dict, stopped: bool) -> int:
    """Print the table, gather results, and return the exit code."""
    print(render(states))
    if text := failures(states):
        print(text)
    table = gather(runs)
    write_results(out, table)
    print(f"results: {out / 'results.csv'}, {len(table)} rows")
    if table:
        with without_pictures(print):
            draw_curves(out / "curves.png", runs)
            print(f"curves: {out / 'curves.png'}")
    kinds = {progress.state for progress in states.values()}
    return 1 if "failed" in kinds else RESUMABLE if stopped or kinds != {"finished"} else 0


if __name__ == "__main__":
    exit_with(main)
