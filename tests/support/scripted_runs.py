"""Runs of a sweep that are small scripts: real processes that end as they are told, in no time."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.sweep.plan import Run

# Behaves as `train` does: rows in metrics.jsonl, 75 after SIGTERM, 0 at the end.
_SCRIPT = """
import json, os, pathlib, signal, sys
root, task, seed = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
metrics = root / "metrics.jsonl"
before = len(metrics.read_text().splitlines()) if metrics.exists() else 0
def row(steps):
    axes = {"env_steps": 4 * steps, "policy_steps": steps, "grad_steps": steps // 2}
    with metrics.open("a") as file:
        file.write(json.dumps({**axes, "episode/score": float(steps + seed)}) + chr(10))
def end():
    row(50)
    row(100)
print("session of its own:", os.getsid(0) == os.getpid())
print("cores", sorted(os.sched_getaffinity(0)), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if task == "fails":
    print("something", "", "went wrong", sep=chr(10))
    sys.exit(3)
if task == "stops":
    sys.exit(75)
if task == "halves" and before == 0:
    row(50)
    sys.exit(75)
if task == "waits" and before == 0:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    row(7)
    signal.pause()
end()
"""


def scripted_run(out: Path, task: str, seed: int = 0, steps: int = 100) -> Run:
    """Return a run whose task is one of `ends`, `fails`, `stops`, `halves`, `waits`."""
    logdir = out / task / f"seed{seed}"
    return Run(task, seed, (), logdir, ("-c", _SCRIPT, str(logdir), task, str(seed)), steps, False)


def write_metrics(run: Run, rows: list[dict[str, float]]) -> None:
    """Write what a run measured; every row gets all axes from its policy steps."""
    run.logdir.mkdir(parents=True)
    with (run.logdir / "metrics.jsonl").open("w") as file:
        for row in rows:
            steps = row["policy_steps"]
            axes = {"env_steps": 2 * steps, "grad_steps": steps // 4}
            file.write(json.dumps({**axes, **row}) + "\n")
