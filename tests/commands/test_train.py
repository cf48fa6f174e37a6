"""Short runs from beginning to end, as a person starts them, and what they leave behind."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tiny_run import tiny_arguments, tiny_run

import dreamer_jax
from dreamer_jax.__main__ import run
from dreamer_jax.commands.train import default_logdir
from dreamer_jax.runtime.showing.metrics import read_rows

pytestmark = pytest.mark.usefixtures("cheap_compile")

CARTPOLE = "gymnasium:CartPole-v1"


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("task", "report_every"),
    [
        (CARTPOLE, 0),  # a vector, discrete actions
        ("gymnasium:Pendulum-v1", 0),  # a vector, continuous actions
        ("testing:mixed", 21),  # pictures and all else
    ],
)
@pytest.mark.usefixtures("shared_programs")
def test_trains_evaluates_and_continues(task, report_every, tmp_path, capsys):
    pytest.importorskip("av"), pytest.importorskip("matplotlib")
    options = {"evaluation__episodes": 2, "evaluation__video": True, "checkpoint__seconds": 0.0}
    arguments = tiny_arguments(task, tmp_path, steps=45, log__report_every=report_every, **options)
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert f"{task}, size 16/8/3/2/8: " in out and "100.0% 4" in out
    assert f"learning curve: {tmp_path}" in out and f"video: {tmp_path}" in out
    assert re.search(r"greedy evaluation: mean -?[\d.]+ \(Student's 95% interval ", out)
    expected = [
        ".lock",
        "checkpoints",
        "config.json",
        "media",
        "metrics.jsonl",
        "replay",
        "spaces.json",
    ]
    assert files(tmp_path) == expected
    reports = ["open_loop_image_000000042.mp4"] if report_every else []
    assert files(tmp_path / "media") == ["evaluation.mp4", "learning_curve.png", *reports]
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    assert all("nonfinite" not in row for row in rows)
    assert "eval/score" in rows[-1]
    assert any("report/loss/dyn" in row for row in rows) == bool(report_every)

    assert run([*arguments, "--config.steps=66"]) == 0
    assert "continuing after 4" in capsys.readouterr().out
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    steps = [row["policy_steps"] for row in rows]
    assert steps == sorted(steps) and steps[-1] >= 66
    assert rows[-1]["grad_steps"] > rows[0]["grad_steps"]
    assert len(files(tmp_path / "checkpoints")) == 2
    assert run([*arguments, "--config.steps=66"]) == 0  # nothing left to do but to evaluate
    assert "greedy evaluation: mean " in capsys.readouterr().out
    assert list(read_rows(tmp_path / "metrics.jsonl")) == rows


@pytest.mark.smoke
@pytest.mark.usefixtures("shared_programs")
@pytest.mark.parametrize("task", [CARTPOLE, "testing:mixed"])
def test_missing_picture_packages_do_not_end_a_run(task, tmp_path, capsys, monkeypatch):
    """A run with reports died at the first one, hours in, where only `[atari]` was installed."""
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    options = {"evaluation__episodes": 1, "evaluation__video": True, "log__report_every": 21}
    assert run(tiny_arguments(task, tmp_path, steps=45, **options)) == 0
    out = capsys.readouterr().out
    assert "no picture: this needs PyAV: pip install 'dreamer-jax[media]'" in out
    assert "no picture: this needs Matplotlib" in out and "greedy evaluation: mean " in out
    assert files(tmp_path) == [
        ".lock",
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "replay",
        "spaces.json",
    ] or (files(tmp_path / "media") == [])


@pytest.mark.usefixtures("shared_programs")
def test_python_runs_the_same_training(tmp_path):
    assert dreamer_jax.run_training(tiny_run(CARTPOLE), str(tmp_path / "python")) == 0
    assert run(tiny_arguments(CARTPOLE, tmp_path / "line")) == 0
    one, two = (tmp_path / name for name in ("python", "line"))
    assert (one / "metrics.jsonl").read_text() == (two / "metrics.jsonl").read_text()
    for name in ("config.json", "spaces.json"):
        first, second = (json.loads((root / name).read_text()) for root in (one, two))
        assert first == second and first


def test_default_directory_tells_time_task_and_seed():
    config = tiny_run("package.module:make", {"seed": 5})
    name = default_logdir(config)
    assert re.fullmatch(r"runs/\d{8}-\d{6}-package\.module-make-5", name)
