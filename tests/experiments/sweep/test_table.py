"""What a person sees of a sweep."""

from __future__ import annotations

import io

import pytest
from scripted_runs import scripted_run

from experiments.sweep.progress import Progress
from experiments.sweep.table import Screen, failures, render, summary


@pytest.fixture
def states(tmp_path):
    runs = [scripted_run(tmp_path, task, seed) for task in ("ends", "fails") for seed in (0, 1)]
    found = [
        Progress("finished", 100, 12.5, 0),
        Progress("running", 20, None, None),
        Progress("failed", 0, None, 3),
        Progress("waiting", 0, None, None),
    ]
    return dict(zip(runs, found, strict=True))


def test_the_table_has_a_line_per_run_and_a_summary(states):
    assert render(states).splitlines() == [
        "task   seed  state     steps       score",
        "ends   0     finished  100 of 100  12.5",
        "ends   1     running   20 of 100",
        "fails  0     failed    0 of 100",
        "fails  1     waiting   0 of 100",
        "1 waiting, 1 running, 1 finished, 1 failed",
    ]


def test_varied_options_are_a_column(states):
    changed = {run._replace(varied=(("envs", "3"),)): each for run, each in states.items()}
    assert render(changed).splitlines()[1] == "ends   0     envs=3   finished  100 of 100  12.5"


def test_failures_end_with_the_last_lines_of_their_log(states):
    failed = next(run for run, each in states.items() if each.state == "failed")
    failed.logdir.mkdir(parents=True)
    (failed.logdir / "output.log").write_text("\n".join(f"line {i}" for i in range(9)))
    lines = failures(states).splitlines()
    assert lines[0] == (
        f"fails seed 0 failed with exit code 3; the end of its log, {failed.logdir / 'output.log'}:"
    )
    assert lines[1:6] == [f"    line {i}" for i in range(4, 9)]
    assert "--retry" in lines[6]
    assert failures({}) == summary({}) == ""


def test_a_log_gets_one_line_per_change(states):
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show(states)
    screen.show(states)
    assert stream.getvalue().splitlines() == [
        "ends seed 0: finished",
        "ends seed 1: running",
        "fails seed 0: failed",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_table_drawn_over_and_over(states, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "4")
    stream = Terminal()
    screen = Screen(stream)
    screen.show(states)
    screen.show(states)
    first, second = stream.getvalue().split("\x1b[3A")
    assert first == second and first.count("\n") == 3
    assert all(len(line.removesuffix("\x1b[K")) <= 19 for line in first.splitlines()[:3])
