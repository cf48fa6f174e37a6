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

from dreamer_jax.runtime.saving.checkpoint import Checkpoint, Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.showing.metrics import read_rows

CHEAP = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
TASK = "testing:counting"
OPTIONS = {"envs": 4, "batch_size": 4, "batch_length": 5, "train_ratio": 4.0, "log__every": 8}
MINUTES = 60
PATIENCE = 8  # seconds


class Crew:
    """Starts the processes of a run and collects what they say."""

    def __init__(self, logdir: Path) -> None:
        self.logdir = logdir
        self.members: list[subprocess.Popen[bytes]] = []

    def start(self, count: int, devices: int = 1, task: str = TASK, **options: Any) -> None:
        arguments = tiny_arguments(task, self.logdir, **{**OPTIONS, **options})
        env = {**os.environ, "XLA_FLAGS": CHEAP, "JAX_NUM_CPU_DEVICES": str(devices)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        port, self.members = free_port(), []
        for index in range(count):
            together = [f"--coordinator=127.0.0.1:{port}", f"--processes={count}"]
            together += [f"--process={index}", f"--patience={PATIENCE}"]
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
    return sum(part.host["source"]["policy_steps"] for part in parts)


def check_episodes(parts: list[Checkpoint], rows: list[dict[str, Any]]) -> None:
    """Check that every episode of every process is in the rows, or waits in the checkpoint."""
    environments = [each for part in parts for each in part.host["source"]["envs"]["environments"]]
    ended = sum(each["episode"] + each["ended"] for each in environments)
    for part in parts:
        waiting = part.host["metrics"].get("episode/count", ("sum", 0, 0))[2]
        assert sum(row.get("episode/count", 0) for row in rows) + waiting == ended > len(parts)


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


SLOW_END = """
import time

from dreamer_jax.envs.testing.counting import Counting

class Slow(Counting):
    \"\"\"Four environments of training, then that of the evaluation, which is slow.\"\"\"

    def __init__(self, made):
        super().__init__(length=500)
        with open(made, "a+") as file:
            file.write("x")
            file.seek(0)
            self._evaluates = len(file.read()) > 4

    def step(self, action):
        if self._evaluates:
            time.sleep(0.05)
        return super().step(action)
"""


def start_evaluating(crew: Crew) -> None:
    """Start a run of two processes, and return when process 0 evaluates."""
    folder = crew.logdir.parent
    made = folder / "made"
    (folder / "slow_end.py").write_text(SLOW_END)
    made.unlink(missing_ok=True)
    evaluation = {"evaluation__episodes": 3, "evaluation__envs": 1}
    made_once = {"env_workers": "inline", "device_steps": 0, "env__made": made}
    crew.start(2, task="slow_end:Slow", steps=60, **evaluation, **made_once)
    until = time.monotonic() + 4 * MINUTES
    while not made.exists() or len(made.read_text()) < 5:
        assert [m.poll() for m in crew.members] == [None, None], crew.said(0) + crew.said(1)
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(2)


@pytest.mark.parametrize("who", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_stop_during_the_evaluation_ends_all_alike(crew, monkeypatch, who):
    """It ended process 0 with exit code 75 and the others with 0, and was not heard by those."""
    monkeypatch.syspath_prepend(crew.logdir.parent)
    start_evaluating(crew)
    crew.members[who].send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert crew.wait(MINUTES) == [75, 75], crew.said(0) + crew.said(1)
    assert time.monotonic() - asked < 20  # of the 75 that the episodes take
    assert "greedy evaluation stopped after" in crew.said(0)
    assert "evaluation" not in crew.said(1)
    rows = list(read_rows(crew.logdir / "metrics.jsonl"))
    assert rows[-1]["policy_steps"] >= 60 and not any("eval/score" in row for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_process_that_stalls_is_waited_for(crew):
    """For longer than its host may be silent: the host still answers. JAX would abort it."""
    crew.start(2, steps=100_000, checkpoint__seconds=0.0)
    crew.await_checkpoints(2)
    crew.members[1].send_signal(signal.SIGSTOP)
    time.sleep(PATIENCE + 5)
    assert crew.members[0].poll() is None, crew.said(0)
    crew.members[1].send_signal(signal.SIGCONT)
    crew.await_checkpoints(2, more_than=newest(RunDir(crew.logdir).checkpoints) + 1)
    crew.members[1].send_signal(signal.SIGTERM)
    assert crew.wait() == [75, 75], crew.said(0)


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
    assert one.step == two.step and one.host["accounts"] == two.host["accounts"]
    assert one.host["source"]["calls"] == two.host["source"]["calls"]
    assert max(120, rows[-1]["policy_steps"]) <= total_steps([one, two]) < 128
    check_episodes([one, two], rows)
    stored = [sum(part.host["replay"]["state"]["count"]) for part in (one, two)]
    assert max(stored) < rows[-1]["replay/size"] <= sum(stored)
    assert "updates/s" in crew.said(0) and "updates/s" not in crew.said(1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("counts", [(2, 2), (2, 1), (1, 2), (2, 4), (4, 2)])
def test_another_number_of_processes_continues(crew, counts):
    """SIGTERM to one stops all after a checkpoint; the streams are dealt to those who go on."""
    before, after = counts
    crew.start(before, steps=100_000, checkpoint__seconds=0.0)
    crew.await_checkpoints(before)
    crew.members[-1].send_signal(signal.SIGTERM)
    assert crew.wait() == [75] * before, crew.said(0)
    parts = load(crew.logdir, before)
    assert len({part.step for part in parts}) == 1
    for process, part in enumerate(parts):
        assert any(name.startswith("state/") for name in part.arrays) == (process == 0)
    steps = total_steps(parts)
    crew.start(after, steps=steps + 40)
    assert crew.wait() == [0] * after, crew.said(0)
    assert "continuing after" in crew.said(0)
    parts = load(crew.logdir, after)
    check_episodes(parts, check_rows(crew.logdir))
    assert total_steps(parts) >= steps + 40
    assert sum(len(p.host["replay"]["state"]["count"]) for p in parts) == OPTIONS["envs"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_environments_on_the_device_are_dealt_anew(crew):
    crew.start(2, task="device:chase", steps=64, device_steps=4)
    assert crew.wait() == [0, 0], crew.said(0)
    steps = total_steps(load(crew.logdir, 2))
    crew.start(1, task="device:chase", steps=steps + 40, device_steps=4)
    assert crew.wait() == [0], crew.said(0)
    assert f"continuing after {steps} policy steps" in crew.said(0)
    (part,) = load(crew.logdir, 1)
    assert part.host["source"]["policy_steps"] >= steps + 40
    assert len(part.host["source"]["begun"]) == OPTIONS["envs"]
    check_rows(crew.logdir)


def spoil_replay(parts: RunDir) -> None:
    """Damage a block that only the newest checkpoint names."""
    new, old = list(Checkpointer(parts.checkpoints, keep=1).candidates())[:2]
    kept = {block["file"] for block in old.host["replay"]["blocks"]}
    files = {block["file"] for block in new.host["replay"]["blocks"]} - kept
    (parts.replay / min(files)).write_bytes(b"not a block")


def spoil_archive(parts: RunDir) -> None:
    (parts.checkpoints / f"{newest(parts.checkpoints):012d}" / "arrays.npz").write_bytes(b"none")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("spoil", [spoil_replay, spoil_archive])
def test_damage_in_one_part_takes_all_processes_to_the_checkpoint_before(crew, spoil):
    keep = {"checkpoint__seconds": 0.0, "checkpoint__keep": 3}
    crew.start(2, steps=100_000, **keep)
    crew.await_checkpoints(2, more_than=3)
    crew.members[0].send_signal(signal.SIGTERM)
    assert crew.wait() == [75, 75], crew.said(0)
    last, parts = newest(RunDir(crew.logdir).checkpoints), load(crew.logdir, 2)
    spoil(RunDir(crew.logdir).part(1))
    steps = total_steps(parts)
    crew.start(2, steps=steps + 40, **keep)
    assert crew.wait() == [0, 0], crew.said(0)
    reason = "is not a replay block" if spoil is spoil_replay else "is missing"
    assert f"checkpoint {last}" in crew.said(0) and reason in crew.said(0)
    assert "continuing after" in crew.said(0)
    parts = load(crew.logdir, 2)
    assert parts[0].step == parts[1].step > last
    check_episodes(parts, check_rows(crew.logdir))
