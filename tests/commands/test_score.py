"""`score` reads what a run left and prints its benchmark's own score."""

from __future__ import annotations

import json

import pytest

from dreamer_jax.__main__ import run
from dreamer_jax.errors import UserError


def _write_run(root, task, rows):
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"task": task}))
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(root)


def test_crafter_runs_are_scored_by_their_achievements(tmp_path, capsys):
    rates = {"eat_cow": 0.08, "wake_up": 0.03}
    row = {"episode/count": 100} | {f"episode/log/achievement_{k}": v for k, v in rates.items()}
    logdir = _write_run(tmp_path / "a", "crafter:reward", [row])
    assert run(["score", logdir]) == 0
    out = capsys.readouterr().out
    assert "eat_cow                  8.00 %" in out
    assert out.endswith("Crafter score 5.00 %\n")


def test_tasks_without_a_score_of_their_own_are_named(tmp_path):
    logdir = _write_run(tmp_path / "a", "atari:pong", [])
    with pytest.raises(
        UserError, match=r"run of atari:pong, which has no score.*crafter and bsuite"
    ):
        run(["score", logdir])


@pytest.mark.parametrize("arguments", [[], ["--logdir=x"]])
def test_run_directories_are_needed(arguments):
    with pytest.raises(UserError, match="score needs run directories"):
        run(["score", *arguments])
