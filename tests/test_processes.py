"""Several real processes over loopback, each on its own simulated device, through `train`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny_arguments

from dreamer_jax.runtime.checkpoint import Checkpoint, Checkpointer
from dreamer_jax.runtime.metrics import read_rows
from dreamer_jax.runtime.rundir import RunDir

CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
TASK = "testing:counting"
OPTIONS = {"envs": 4, "batch_size": 4, "batch_length": 5, "train_ratio": 4.0, "log__every": 8}
MINUTES = 60


class Crew:
    """Starts the processes of a run and collects what they say."""

    def __init__(self, logdir: Path) -> None:
        self.logdir = logdir
        self.members: list[subprocess.Popen[bytes]] = []

    def start(self, count: int, devices: int = 1, **options: Any) -> None:
        arguments = tiny_arguments(TASK, self.logdir, **{**OPTIONS, **options})
        env = {**os.environ, "XLA_FLAGS": CHEAP, "JAX_NUM_CPU_DEVICES": str(devices)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        port, self.members = free_port(), []
        for index in range(count):
            together = [f"--coordinator=127.0.0.1:{port}", f"--processes={count}"]
            together += [f"--process={index}", "--patience=8"]
            command = [sys.executable, "-m", "dreamer_jax", *arguments]
            command += together if count > 1 else []
            with (self.logdir.parent / f"log{index}").open("w") as log:
                process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
            self.members.append(process)

    def wait(self, seconds: float = 5 * MINUTES) -> list[int]:
        """Return the exit codes."""
        until = time.monotonic() + seconds
        return [member.wait(max(1.0, until - time.monotonic())) for member in self.members]

    def said(self, index: int) -> str:
        return (self.logdir.parent / f"log{index}").read_text()

    def await_checkpoints(self, count: int, more_than: int = 0) -> None:
        """Return when every process has written a checkpoint after an update."""
        until = time.monotonic() + 4 * MINUTES
        folders = [RunDir(self.logdir).part(i).checkpoints for i in range(count)]
        while not all(newest(folder) > more_than for folder in folders):
            ended = [member.poll() for member in self.members]
            assert ended == [None] * count, (ended, self.said(0), self.said(1))
            assert time.monotonic() < until, self.said(0)
            time.sleep(0.1)

    def close(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()


def newest(folder: Path) -> int:
    return max(Checkpointer(folder, keep=1).history(), default=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path / "run")
    yield crew
    crew.close()


def load(logdir: Path, count: int) -> list[Checkpoint]:
    parts = [Checkpointer(RunDir(logdir).part(i).checkpoints, keep=1).load() for i in range(count)]
    assert all(part is not None for part in parts)
    return [part for part in parts if part is not None]


def total_steps(parts: list[Checkpoint]) -> int:
    return sum(part.host["driver"]["policy_steps"] for part in parts)


def check_rows(logdir: Path) -> list[dict[str, Any]]:
    """Check that counters only grow, and that updates are what the steps of all are worth."""
    rows = list(read_rows(logdir / "metrics.jsonl"))
    steps = [row["policy_steps"] for row in rows]
    assert steps == sorted(set(steps))
    first = next(row for row in rows if row["grad_steps"] > 0)
    for row in rows[rows.index(first) :]:
        due = (row["policy_steps"] - first["policy_steps"]) * 4.0 / 20
        assert abs(row["grad_steps"] - first["grad_steps"] - due) <= 1.0
    return rows


def test_a_lost_process_ends_the_others_who_say_so(crew):
    """They would wait in a collective, or die of an abort that no scheduler restarts."""
    crew.start(2, steps=1_000_000, checkpoint__seconds=0.0)
    crew.await_checkpoints(2)
    crew.members[1].send_signal(signal.SIGKILL)
    assert crew.wait(MINUTES) == [75, -signal.SIGKILL]
    assert "stopped: process 1 was lost; start all processes again" in crew.said(0)
    check_rows(crew.logdir)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("devices", [1, 2])
def test_processes_finish_and_write_everything_once(crew, devices):
    """With two devices each, gloo deadlocks where programs overlap: the learner waits for each."""
    crew.start(2, devices=devices, steps=120, mesh__fsdp=2)
    assert crew.wait() == [0, 0], crew.said(0) + crew.said(1)
    rows = check_rows(crew.logdir)
    one, two = load(crew.logdir, 2)
    assert any(k.startswith("state/") for k in one.arrays)
    assert not any(k.startswith(("state/", "acting/")) for k in two.arrays)
    assert one.step == two.step and one.host["ratio"] == two.host["ratio"]
    assert one.host["driver"]["calls"] == two.host["driver"]["calls"]
    assert max(120, rows[-1]["policy_steps"]) <= total_steps([one, two]) < 128
    assert "updates/s" in crew.said(0) and "updates/s" not in crew.said(1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("counts", [(2, 2), (2, 1), (1, 2), (2, 4)])
def test_another_number_of_processes_continues(crew, counts):
    """SIGTERM to one stops all after a checkpoint; the streams are dealt to those who go on."""
    before, after = counts
    crew.start(before, steps=100_000, checkpoint__seconds=0.0)
    crew.await_checkpoints(before)
    crew.members[-1].send_signal(signal.SIGTERM)
    assert crew.wait() == [75] * before, crew.said(0)
    parts = load(crew.logdir, before)
    assert len({part.step for part in parts}) == 1
    steps = total_steps(parts)
    crew.start(after, steps=steps + 40)
    assert crew.wait() == [0] * after, crew.said(0)
    assert "continuing after" in crew.said(0)
    check_rows(crew.logdir)
    assert total_steps(load(crew.logdir, after)) >= steps + 40
    streams = sum(len(p.host["replay"]["state"]["count"]) for p in load(crew.logdir, after))
    assert streams == OPTIONS["envs"]
