"""A signal ends a run wherever it is, within seconds, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from tiny_run import tiny_arguments

from dreamer_jax.runtime.showing.metrics import read_rows

ROOT = Path(__file__).resolve().parents[2]

# The first environment is that of training, the second one that of the evaluation.
SLOW = """
import os
import time

from dreamer_jax.envs.testing.counting import Counting

class Slow(Counting):
    def __init__(self, made):
        super().__init__(length=500)
        with open(made, "a+") as file:
            file.write("x")
            file.seek(0)
            self._evaluates = file.read() == "xx"

    def step(self, action):
        if self._evaluates:
            time.sleep(float(os.environ["SECONDS_OF_A_STEP"]))
        return super().step(action)
"""


def start(folder: Path, seconds: float, out: IO[str]) -> subprocess.Popen[str]:
    """Start a run in a process of its own, whose steps of evaluation take so many seconds."""
    (folder / "slow_env.py").write_text(SLOW)
    (folder / "made").unlink(missing_ok=True)
    options = {"steps": 6, "envs": 1, "device_steps": 0, "evaluation__episodes": 2}
    arguments = tiny_arguments("slow_env:Slow", folder / "run", evaluation__envs=1, **options)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "SECONDS_OF_A_STEP": str(seconds)}
    command = [sys.executable, "-m", "dreamer_jax", *arguments, f"--config.env.made={folder}/made"]
    return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, text=True)


def await_evaluation(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the environment of the evaluation is there, and has probably been stepped."""
    until = time.monotonic() + 120
    while not ((folder / "made").exists() and (folder / "made").read_text() == "xx"):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    time.sleep(3)


def test_termination_during_the_evaluation_ends_it_within_seconds(tmp_path):
    """It was heard after the last episode: a scheduler kills long before, and counts a failure."""
    told = tmp_path / "told"
    with told.open("w") as out, start(tmp_path, 0.1, out) as process:
        await_evaluation(process, tmp_path)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert process.wait(60) == 75
        assert time.monotonic() - asked < 10  # of the 100 that the episodes take
    text = told.read_text()
    assert "greedy evaluation stopped after 0 of 2 episodes" in text and "Traceback" not in text
    assert f"--logdir={tmp_path}/run continues" in text
    assert not any("eval/score" in row for row in read_rows(tmp_path / "run" / "metrics.jsonl"))
    with told.open("w") as out, start(tmp_path, 0.0, out) as process:
        assert process.wait(120) == 0
    assert "greedy evaluation: mean " in told.read_text()
    assert any("eval/score" in row for row in read_rows(tmp_path / "run" / "metrics.jsonl"))


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_ends_at_once_whatever_a_step_takes(tmp_path, first):
    told = tmp_path / "told"
    with told.open("w") as out, start(tmp_path, 60.0, out) as process:
        await_evaluation(process, tmp_path)
        process.send_signal(first)
        time.sleep(1)
        assert process.poll() is None  # it waits for the step
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 75
    assert "interrupted; a training run continues" in told.read_text()
