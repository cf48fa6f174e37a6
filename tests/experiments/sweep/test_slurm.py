"""The same schedule on Slurm, where this machine is a node of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from scripted_runs import scripted_run

from dreamer_jax.errors import UserError
from experiments.sweep.attempt import STOPPED, read_record
from experiments.sweep.schedule import Schedule
from experiments.sweep.slurm import SlurmBackend

pytest.importorskip("submitit")
ROOT = Path(__file__).resolve().parents[3]
ONE_CORE = {"cpus_per_task": 1, "timeout_min": 9}


def has_nodes() -> bool:
    """Return whether a Slurm controller answers."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False, timeout=20).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_nodes(), reason="no Slurm answers here"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # submitit's, about accounting
]


@pytest.fixture
def backend(tmp_path, monkeypatch):
    # Jobs start in the folder of this process and import the package from there.
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests/support")]))
    return SlurmBackend(tmp_path, 2, ONE_CORE)


def bring_to_its_end(schedule: Schedule) -> dict[str, str]:
    while not schedule.over:
        schedule.advance()
        time.sleep(0.1)
    return {run.task: progress.state for run, progress in schedule.states().items()}


def test_runs_end_as_on_this_machine(tmp_path, backend):
    runs = [scripted_run(tmp_path, task) for task in ("ends", "fails", "halves")]
    states = bring_to_its_end(Schedule(runs, backend))
    assert states == {"ends": "finished", "fails": "failed", "halves": "finished"}


def test_a_new_command_finds_the_job_of_the_last_and_stops_it(tmp_path, backend):
    run = scripted_run(tmp_path, "waits")
    schedule = Schedule([run], backend)
    while not (run.logdir / "metrics.jsonl").exists():
        schedule.advance()
    again = Schedule([run], SlurmBackend(tmp_path, 2, ONE_CORE))
    again.advance()
    assert not again.over and read_record(run.logdir).attempts == 1
    again.stop()
    assert bring_to_its_end(again) == {"waits": "stopped"}
    # Slurm signals the run as well as the job; the second signal may meet it on its way out.
    assert read_record(run.logdir).exit_code in STOPPED


def test_an_unknown_resource_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Slurm cannot be used: .*num_cores"):
        SlurmBackend(tmp_path, 1, {"num_cores": 1})
