"""What a sweep starts, starts again and leaves alone, with real processes on the local backend."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted_runs import scripted_run

from dreamer_jax.runtime.saving.lock import RunLock
from experiments.sweep.attempt import last_lines, read_record
from experiments.sweep.local import LocalBackend
from experiments.sweep.schedule import MOST_IDLE_STOPS, Schedule

DEADLINE = 60.0


def until(condition, schedule: Schedule | None = None) -> None:
    """Wait for something that processes bring about."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        if schedule is not None:
            schedule.advance()
        time.sleep(0.01)


@pytest.fixture
def backend():
    backend = LocalBackend(2)
    yield backend
    backend.close()


def bring_to_its_end(runs, backend, **options) -> dict[str, str]:
    schedule = Schedule(runs, backend, **options)
    until(lambda: schedule.over, schedule)
    return {run.task: progress.state for run, progress in schedule.states().items()}


def attempts(run) -> int:
    return read_record(run.logdir).attempts


def test_stopped_runs_continue_and_failed_ones_do_not(tmp_path, backend):
    runs = [scripted_run(tmp_path, task) for task in ("ends", "fails", "halves")]
    states = bring_to_its_end(runs, backend)
    assert states == {"ends": "finished", "fails": "failed", "halves": "finished"}
    assert [attempts(run) for run in runs] == [1, 1, 2]
    assert last_lines(runs[1].logdir, 2) == ["something", "went wrong"]


def test_the_same_command_skips_what_is_finished_and_retries_on_demand(tmp_path, backend):
    runs = [scripted_run(tmp_path, task) for task in ("ends", "fails")]
    bring_to_its_end(runs, backend)
    assert Schedule(runs, backend).over
    bring_to_its_end(runs, backend, retry=True)
    assert [attempts(run) for run in runs] == [1, 2]
    longer = [run._replace(steps=200) for run in runs]
    assert bring_to_its_end(longer, backend) == {"ends": "finished", "fails": "failed"}
    assert [attempts(run) for run in runs] == [2, 2]


def test_a_run_that_only_stops_is_given_up(tmp_path, backend):
    run = scripted_run(tmp_path, "stops")
    assert bring_to_its_end([run], backend) == {"stops": "failed"}
    assert attempts(run) == MOST_IDLE_STOPS


def test_a_stop_lets_runs_checkpoint_and_starts_no_more(tmp_path, backend):
    runs = [scripted_run(tmp_path, "waits", seed) for seed in range(3)]
    schedule = Schedule(runs, backend)
    begun = lambda run: (run.logdir / "metrics.jsonl").exists()
    until(lambda: all(map(begun, runs[:2])), schedule)
    schedule.stop()
    until(lambda: schedule.over, schedule)
    assert [progress.state for progress in schedule.states().values()] == [
        "stopped",
        "stopped",
        "waiting",
    ]
    assert [read_record(run.logdir).exit_code for run in runs[:2]] == [75, 75]
    assert bring_to_its_end(runs[:2], backend) == {"waits": "finished"}


def test_a_killed_attempt_is_continued(tmp_path):
    run = scripted_run(tmp_path, "waits")
    backend = LocalBackend(1)
    schedule = Schedule([run], backend)
    until((run.logdir / "metrics.jsonl").exists, schedule)
    backend.close()  # as after a second Ctrl-C
    assert read_record(run.logdir).exit_code is None
    again = LocalBackend(1)
    assert bring_to_its_end([run], again) == {"waits": "finished"}
    again.close()


def test_a_run_that_somebody_else_runs_is_waited_for(tmp_path, backend):
    """A sweep that died by kill -9 leaves its runs behind, alive."""
    run = scripted_run(tmp_path, "ends")
    with RunLock(run.logdir):
        schedule = Schedule([run], backend)
        schedule.advance()
        assert not schedule.over and read_record(run.logdir) is None
        assert schedule.states()[run].state == "running"
    until(lambda: schedule.over, schedule)
    assert schedule.states()[run].state == "finished" and attempts(run) == 1


_HOLD = """
import signal, sys
from pathlib import Path
from dreamer_jax.runtime.saving.lock import RunLock
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def test_a_stop_reaches_a_run_that_an_earlier_command_left(tmp_path, backend):
    run = scripted_run(tmp_path, "ends")
    root = str(Path(__file__).resolve().parents[3])
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(run.logdir)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    with holder:
        holder.stdout.readline()
        schedule = Schedule([run], backend)
        schedule.stop()
        assert holder.wait(DEADLINE) == 75
    until(lambda: schedule.over, schedule)
