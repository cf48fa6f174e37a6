"""Campaigns `kill` and `signal`: end a run in every phase, start its command again, and judge.

After the last end the run is left to finish. It must then be equal, bit for bit, to a run that was
never interrupted; only the death of an environment's worker ends an episode, so that nobody can
promise this there.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from itertools import cycle
from typing import Any

import numpy as np

from dreamer_jax.errors import RESUMABLE
from experiments.faults.judge import Verdict
from experiments.faults.launcher import NONE, PHASES
from experiments.faults.subject import ENDS, UNHURT, End, Subject


def plan(kills: int, seed: int) -> list[tuple[str, int]]:
    """Return phase and count of every kill: filling first, then the other phases in turn."""
    rng, (filling, *others) = np.random.default_rng(seed), PHASES
    share = max(1, kills // len(PHASES)) if kills >= len(PHASES) else 0
    most = {"compiling": 1, "updating": 5, "writing": 30, "renaming": 20, "deleting": 20}
    turns = [others[i % len(others)] for i in range(kills - share)]
    counts = [(phase, 1 + int(rng.integers(most[phase]))) for phase in turns]
    return [(filling, 2 + i % 2) for i in range(share)] + counts


def kill_campaign(args: argparse.Namespace) -> list[dict[str, Any]]:
    """End one run `--kills` times, let it finish, and compare it with an uninterrupted one."""
    options = {"cold": args.kills > len(PHASES), "steps": args.steps}
    subject = Subject(args.folder / "killed", args.setup, **options)
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cuts = any(ENDS[name].cuts for name in args.ends)
    before, ways = subject.judge(cuts), cycle(args.ends)
    for number, (phase, count) in enumerate([*plan(args.kills, args.seed), (NONE, 0)]):
        name, end = ("", UNHURT) if phase == NONE else ((way := next(ways)), ENDS[way])
        ended = subject.start(phase, count, end, victim=number % subject.processes)
        after = subject.judge(cuts)
        found = sums[phase, name]
        found += _faults_between(before, after, end, cuts)
        found += Counter({"runs": 1, "other ends": int(not ended.is_as(end))})
        codes = ", ".join(map(str, (ended.code, *ended.others)))
        print(f"{phase} {count} {name}: exit codes {codes}; {after.committed} records", flush=True)
        if not ended.is_as(end):
            print(ended.output[-2000:], flush=True)
        before = after
    if not cuts:
        straight = Subject(args.folder / "straight", args.setup, **options)
        straight.start()
        sums[NONE, ""]["unlike uninterrupted"] = subject.differences(straight)
    return [_row(phase, name, found) for (phase, name), found in sums.items()]


def _faults_between(before: Verdict, after: Verdict, end: End, cuts: bool) -> Counter[str]:
    """Return by kind how often something went wrong between two verdicts on one run."""
    found = {name: getattr(after, name) for name in ("lost", "doubled", "unlike", "diverged")}
    # A polite stop saves all that was done.
    polite = end.code == RESUMABLE and not cuts
    unsaved = after.unsaved if polite else 0
    return Counter(
        found | {"unsaved": unsaved, "rolled back": max(0, before.committed - after.committed)}
    )


def _row(phase: str, name: str, found: Counter[str]) -> dict[str, Any]:
    names = ("lost", "doubled", "unlike", "diverged", "unsaved", "rolled back", "other ends")
    bad = {name: found[name] for name in (*names, "unlike uninterrupted")}
    ended = {"ended in": phase if phase != NONE else "(finished)", "by": name or "-"}
    return ended | {"runs": found["runs"]} | bad | {"as promised": not any(bad.values())}


def signal_campaign(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Stop a run in an update by one signal, then by two, and then let the run finish."""
    rows = []
    options: dict[str, Any] = {"steps": args.steps, "checkpoint.seconds": 1e9}
    subject = Subject(args.folder / "signalled", args.setup, **options)
    for signals in ("SIGTERM", "SIGINT", "SIGINT+SIGINT"):
        before = subject.judge()
        ended = subject.start("updating", 3, End("self", signals, RESUMABLE, RESUMABLE))
        after = subject.judge()
        polite = "+" not in signals  # otherwise a save that is under way may still be whole
        rows.append(
            {
                "signals": signals,
                "exit code": ended.code,
                "seconds": round(ended.seconds, 2),
                "records saved": after.committed - before.committed,
                "as promised": ended.code == RESUMABLE
                and (after.step > before.step or not polite)
                and not (after.lost or after.doubled or after.unlike or after.diverged),
            }
        )
    ended = subject.start()
    rows.append({"signals": "none", "exit code": ended.code, "as promised": not ended.code})
    return rows
