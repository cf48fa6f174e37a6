"""Campaigns `kill` and `signal`: end a run in every phase, start its command again, and judge.

The killed run saves after every step of its environments, so that every phase comes soon. After
the last kill the run is left to finish. It must then be equal, bit for bit, to a run that was never
interrupted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.errors import FINISHED, RESUMABLE
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir
from experiments.faults.judge import Verdict, judge
from experiments.faults.launcher import NONE, PHASES
from experiments.faults.taped import VARIABLE, read_tape

ROOT = Path(__file__).resolve().parents[2]
KILLED = -9
_LAYERS = ("encoder", "decoder", "actor", "critic", "prior", "posterior")
OPTIONS = {
    "task": "experiments.faults.taped:make",
    "size": "16/8/3/2/8",
    "envs": 3,
    "train_ratio": 1.0,
    "log.report_every": 0,
    "checkpoint.seconds": 0.0,
    "agent.groups": 3,
    "agent.blocks": 4,
    "agent.bins": 11,
    "agent.imag_horizon": 3,
    **{f"agent.{name}_layers": 1 for name in _LAYERS},
}


class Ended(NamedTuple):
    """The end of a process."""

    code: int  # exit code
    seconds: float  # since the signal, or since the start if there was no signal
    output: str


class Subject:
    """A run directory, the tape beside it, and the one command that starts and continues it.

    Args:
        folder: Where run directory, tape and compiled programs go.
        cold: Whether a run that is to end while it compiles must compile, without the cache of
            compiled programs, which would leave no time to end it.
        options: Overrides of the config.
    """

    def __init__(self, folder: Path, cold: bool = True, **options: Any) -> None:
        self.cold = cold
        self.run, self.tape = RunDir(folder / "run"), folder / "tape.txt"
        overrides = [f"--config.{key}={value}" for key, value in (OPTIONS | options).items()]
        self._command = ["train", "--config=debug", f"--logdir={self.run.root}", *overrides]
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, phase: str = NONE, count: int = 0, signals: str = "SIGKILL") -> Ended:
        """Run the command until it ends by itself or by the signals of a phase; see `launcher`."""
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(self.run.root.parents[1] / "jax"))
        env = {
            **os.environ,
            VARIABLE: str(self.tape),
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_ENABLE_COMPILATION_CACHE": str(phase != "compiling" or not self.cold),
        }
        launch = [sys.executable, "-m", "experiments.faults.launcher", phase, str(count), signals]
        output, since = [], time.perf_counter()
        with subprocess.Popen(
            [*launch, *self._command],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.append(line)
                if line.startswith("phase: "):
                    since = time.perf_counter()
        return Ended(process.returncode, time.perf_counter() - since, "".join(output))

    def judge(self) -> Verdict:
        """Compare the newest checkpoint with the tape."""
        return judge(self.run.root, read_tape(self.tape))

    def differences(self, other: Subject) -> int:
        """Return how many arrays of the newest checkpoints differ, plus one if the metrics do."""
        found = [Checkpointer(run.checkpoints, keep=1).load() for run in (self.run, other.run)]
        one, two = ({} if each is None else each.arrays for each in found)
        unlike = [
            k for k in {*one, *two} if k not in one or k not in two or not _same(one[k], two[k])
        ]
        texts = {run.metrics.read_text() for run in (self.run, other.run)}
        return len(unlike) + (len(texts) != 1 or not one)


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())


def plan(kills: int, seed: int) -> list[tuple[str, int]]:
    """Return phase and count of every kill: filling first, then the other phases in turn."""
    rng, (filling, *others) = np.random.default_rng(seed), PHASES
    share = max(1, kills // len(PHASES)) if kills >= len(PHASES) else 0
    most = {"compiling": 1, "updating": 5, "writing": 30, "renaming": 20, "deleting": 20}
    turns = [others[i % len(others)] for i in range(kills - share)]
    counts = [(phase, 1 + int(rng.integers(most[phase]))) for phase in turns]
    return [(filling, 2 + i % 2) for i in range(share)] + counts


def kill_campaign(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Kill one run `--kills` times, let it finish, and compare it with an uninterrupted one."""
    options = {"cold": args.kills > len(PHASES), "steps": args.steps}
    subject = Subject(args.folder / "killed", **options)
    straight = Subject(args.folder / "straight", **options)
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    before = subject.judge()
    for phase, count in [*plan(args.kills, args.seed), (NONE, 0)]:
        ended, after = subject.start(phase, count), subject.judge()
        wanted = FINISHED if phase == NONE else KILLED
        sums[phase] += _faults_between(before, after)
        sums[phase] += Counter({"runs": 1, "other ends": int(ended.code != wanted)})
        print(f"{phase} {count}: exit code {ended.code}, {after.committed} records", flush=True)
        if ended.code != wanted:
            print(ended.output[-2000:], flush=True)
        before = after
    straight.start()
    sums[NONE]["unlike uninterrupted"] = subject.differences(straight)
    return [_row(phase, sums[phase]) for phase in sums]


def _faults_between(before: Verdict, after: Verdict) -> Counter[str]:
    """Return by kind how often something went wrong between two verdicts on one run."""
    found = {name: getattr(after, name) for name in ("lost", "doubled", "unlike", "diverged")}
    return Counter(found | {"rolled back": max(0, before.committed - after.committed)})


def _row(phase: str, found: Counter[str]) -> dict[str, Any]:
    names = ("lost", "doubled", "unlike", "diverged", "rolled back", "other ends")
    bad = {name: found[name] for name in (*names, "unlike uninterrupted")}
    ended = {"ended in": phase if phase != NONE else "(finished)", "runs": found["runs"]}
    return ended | bad | {"as promised": not any(bad.values())}


def signal_campaign(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Stop a run in an update by one signal, then by two, and then let the run finish."""
    rows = []
    options: dict[str, Any] = {"steps": args.steps, "checkpoint.seconds": 1e9}
    subject = Subject(args.folder / "signalled", **options)
    for signals in ("SIGTERM", "SIGINT", "SIGINT+SIGINT"):
        before = subject.judge()
        ended = subject.start("updating", 3, signals)
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
    rows.append({"signals": "none", "exit code": ended.code, "as promised": ended.code == 0})
    return rows
