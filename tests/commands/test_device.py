"""A task whose environments run on the device, by the commands that people type."""

from __future__ import annotations

import pytest
from tiny_run import tiny_arguments

from dreamer_jax.__main__ import run
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.showing.metrics import read_rows


@pytest.mark.smoke
@pytest.mark.usefixtures("cheap_compile", "shared_programs")
def test_train_continue_and_evaluate(tmp_path, capsys):
    pytest.importorskip("av")
    pytest.importorskip("matplotlib")
    options = {"train_ratio": 4.0, "evaluation__episodes": 3, "evaluation__video": True}
    arguments = tiny_arguments("device:chase", tmp_path, device_steps=3, **options)
    assert run([*arguments, "--config.steps=40"]) == 0
    out = capsys.readouterr().out
    assert "3 environments on the device (3 steps a call)" in out
    assert "greedy evaluation: mean" in out and (tmp_path / "media" / "evaluation.mp4").exists()
    assert run([*arguments, "--config.steps=90"]) == 0
    assert "continuing after" in capsys.readouterr().out
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    assert rows[-1]["policy_steps"] >= 90 and rows[-1]["grad_steps"] > 3
    assert any("episode/log/caught" in row for row in rows), rows[-1].keys()
    assert run(["evaluate", f"--logdir={tmp_path}", "--episodes=4", "--envs=2"]) == 0
    assert ", 4 episodes" in capsys.readouterr().out


def test_a_negative_number_of_steps_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"device_steps=-1; it must be at least 0"):
        run(tiny_arguments("device:chase", tmp_path, device_steps=-1))
