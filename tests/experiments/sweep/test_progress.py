"""What a run's directory tells of it."""

from __future__ import annotations

import pytest
from scripted_runs import scripted_run, write_metrics

from dreamer_jax.runtime.saving.lock import RunLock
from experiments.sweep.attempt import Record, last_lines, write_record
from experiments.sweep.progress import final_score, read_progress


def scored(steps: int, score: float | None) -> dict:
    return {"policy_steps": steps, "episode/score": score}


@pytest.mark.parametrize(
    ("exit_code", "state"),
    [(None, "running"), (0, "finished"), (75, "stopped"), (-15, "stopped"), (-9, "failed")],
)
def test_the_record_of_the_latest_attempt_tells_the_state(tmp_path, exit_code, state):
    run = scripted_run(tmp_path, "ends")
    assert read_progress(run) == ("waiting", 0, None, None)
    write_metrics(run, [scored(40, 3.5), scored(60, None)])
    write_record(run.logdir, Record(2, run.steps, exit_code, "here"))
    assert read_progress(run) == (state, 60, 3.5, exit_code)


def test_a_run_from_the_printed_list_is_judged_by_its_metrics(tmp_path):
    run = scripted_run(tmp_path, "ends")
    write_metrics(run, [scored(40, 3.0)])
    assert read_progress(run).state == "stopped"
    with RunLock(run.logdir):
        assert read_progress(run).state == "running"
    (run.logdir / "metrics.jsonl").unlink()
    run.logdir.joinpath(".lock").unlink()
    run.logdir.rmdir()
    write_metrics(run, [scored(40, 3.0), scored(100, 5.0)])
    assert read_progress(run)[:3] == ("finished", 100, 5.0)
    assert read_progress(run._replace(evaluates=True)).state == "stopped"


def test_the_score_is_that_of_the_evaluation_or_of_the_last_tenth():
    rows = [scored(steps, float(steps)) for steps in range(10, 210, 10)]
    assert final_score(rows) == 195.0  # of 190 and 200; 180 is not after the nine tenths
    assert final_score([*rows, {"policy_steps": 200, "eval/score": 7.0}]) == 7.0
    assert final_score([scored(10, 4.0), scored(100, None)]) == 4.0
    assert final_score([]) is None


def test_a_line_that_is_being_written_is_not_read(tmp_path):
    run = scripted_run(tmp_path, "ends")
    write_metrics(run, [scored(40, 3.5)])
    with (run.logdir / "metrics.jsonl").open("a") as file:
        file.write('{"policy_steps": 5')
    assert read_progress(run).policy_steps == 40


def test_last_lines_are_those_of_the_latest_attempt(tmp_path):
    assert last_lines(tmp_path, 3) == []
    text = "--- attempt 1, now, here\nold\n--- attempt 2, now, here\nnew\n\nnewest\n"
    (tmp_path / "output.log").write_text(text)
    assert last_lines(tmp_path, 3) == ["new", "newest"] and last_lines(tmp_path, 1) == ["newest"]
