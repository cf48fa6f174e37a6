"""`python -m experiments.check NAME [--seeds=0-4] [--json=OUT] [--out=DIR]`, and `--list`.

Runs every arm of a check with every seed, as many at a time as there are cores, and prints what
each measured, the intervals and the verdict. NAME is a file of `experiments/check/checks/`, or the
path of one's own. The same `--out` continues: finished runs are kept. Ctrl-C lets all runs
checkpoint. `docs/checks.md` says what the classes mean and how to write one.

Exit codes: 0 shown or reported, 1 not shown or a run failed, 2 bad input, 75 stopped but resumable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dreamer_jax.errors import RESUMABLE, UserError
from dreamer_jax.runtime.saving.lock import RunLock
from dreamer_jax.runtime.signals import StopRequest
from experiments.check.declare import Check, load, names
from experiments.check.results import read_results, to_json, write_result
from experiments.check.runs import default_jobs, measure_runs, plan_runs
from experiments.check.text import conclusion, listing, statement
from experiments.check.verdict import judge
from experiments.command_line import exit_with
from experiments.sweep.__main__ import follow
from experiments.sweep.local import LocalBackend
from experiments.sweep.plan import parse_seeds
from experiments.sweep.schedule import Schedule
from experiments.sweep.table import failures

RESULTS = Path("docs/measurements/checks.json")
_NOT_SHOWN = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or list checks; return the exit code.

    Raises:
        UserError: For anything that no run could use.
    """
    args = parse(sys.argv[1:] if arguments is None else arguments)
    if args.list:
        print(listing({name: load(name) for name in names()}, read_results(args.results)))
        return 0
    if not args.name:
        raise UserError("name a check, or ask for --list")
    if args.jobs < 0:
        raise UserError(f"--jobs={args.jobs}; it is a number of runs, or 0")
    return run_check(load(args.name), args)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.check", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="check, or its file")
    parser.add_argument("--list", action="store_true", help="show all checks and last results")
    parser.add_argument("--seeds", default="", help="such as 0-4; the check's own if not given")
    parser.add_argument("--json", type=Path, help="file of results that gets this one, too")
    parser.add_argument("--out", type=Path, help="directory of the runs; runs/checks/NAME")
    parser.add_argument("--jobs", type=int, default=0, help="runs at a time; 0: one per core")
    parser.add_argument("--retry", action="store_true", help="start failed runs again")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="file or folder that --list reads"
    )
    return parser.parse_args(arguments)


def run_check(check: Check, args: argparse.Namespace) -> int:
    """Run what is not finished yet, print and write the result, and return the exit code."""
    name = Path(args.name).stem
    seeds = parse_seeds(args.seeds or check.seeds)
    out = args.out or Path("runs", "checks", name)
    runs = plan_runs(check, seeds, out)
    if args.json:
        read_results(args.json)  # refused now rather than when all has been run
    print(statement(name, check, seeds), flush=True)
    flat = [run for row in runs.values() for run in row.values()]
    with (
        RunLock(out),
        closing(LocalBackend(args.jobs or default_jobs())) as backend,
        StopRequest() as stop,
    ):
        schedule = Schedule(flat, backend, args.retry)
        follow(schedule, backend.poll_seconds, stop)
        states = schedule.states()
    if text := failures(states):
        print(text)
    if stop.requested:
        return RESUMABLE
    values = measure_runs(check, runs, states, lambda arm: arm.measure or check.measure, print)
    cost = check.cost
    costs = measure_runs(check, runs, states, lambda _: cost, print) if cost is not None else None
    verdict = judge(check, values, costs)
    print(conclusion(values, costs, verdict))
    if args.json:
        # Where the runs lie and how many ran at a time says nothing to others.
        command = f"python -m experiments.check {name} --seeds={args.seeds or check.seeds}"
        write_result(args.json, name, to_json(check, command, values, costs, verdict))
    return 0 if verdict.word in ("shown", "reported") else _NOT_SHOWN


if __name__ == "__main__":
    exit_with(main)
