"""The same schedule on Ray, with a Ray of this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_runs import scripted_run

from dreamer_jax.errors import UserError
from experiments.sweep.attempt import read_record
from experiments.sweep.on_ray import RayBackend
from experiments.sweep.schedule import Schedule

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves its log files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def backend():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
        backend = RayBackend(2, {"num_cpus": 0.5})
        yield backend
        backend.close()


def bring_to_its_end(schedule: Schedule) -> dict[str, str]:
    while not schedule.over:
        schedule.advance()
    return {run.task: progress.state for run, progress in schedule.states().items()}


def test_runs_end_as_on_this_machine(tmp_path, backend):
    runs = [scripted_run(tmp_path, task) for task in ("ends", "fails", "halves")]
    states = bring_to_its_end(Schedule(runs, backend))
    assert states == {"ends": "finished", "fails": "failed", "halves": "finished"}
    assert [read_record(run.logdir).attempts for run in runs] == [1, 1, 2]


def test_a_stop_lets_runs_checkpoint(tmp_path, backend):
    run = scripted_run(tmp_path, "waits")
    schedule = Schedule([run], backend)
    while not (run.logdir / "metrics.jsonl").exists():
        schedule.advance()
    schedule.stop()
    assert bring_to_its_end(schedule) == {"waits": "stopped"}
    assert read_record(run.logdir).exit_code == 75


def test_an_unknown_resource_is_refused(backend):  # noqa: ARG001  Ray is running
    with pytest.raises(UserError, match="Ray does not take these resources"):
        RayBackend(1, {"num_cores": 1})
