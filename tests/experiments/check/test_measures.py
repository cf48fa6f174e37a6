"""Numbers of run directories, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dreamer_jax.errors import UserError
from experiments.check.measures import last, late_mean, option


@pytest.fixture
def run(tmp_path) -> Path:
    rows = [
        {"policy_steps": 25, "episode/score": 1.0},
        {"policy_steps": 75, "episode/score": 50.0},
        {"policy_steps": 80, "episode/score": 2.0},
        {"policy_steps": 90, "episode/score": None},  # not finite
        {"policy_steps": 95},
        {"policy_steps": 100, "episode/score": 4.0, "eval/score": 7.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text(json.dumps({"env": {"reward_scale": 1e-3}, "seed": 3}))
    return tmp_path


def test_the_late_mean_is_of_the_last_share_of_steps(run):
    assert late_mean("episode/score")(run) == 3.0  # after step 75
    assert late_mean("episode/score", 0.05)(run) == 4.0
    assert late_mean("episode/score", 1.0)(run) == 57 / 4


def test_the_last_value_and_options(run):
    assert last("eval/score")(run) == 7.0 and last("episode/score")(run) == 4.0
    assert option(run, "env.reward_scale") == 1e-3 and option(run, "seed") == 3


def test_what_a_run_does_not_hold_is_said(run):
    with pytest.raises(UserError, match="holds no eval/length"):
        last("eval/length")(run)
    with pytest.raises(UserError, match="there are no metrics"):
        late_mean("episode/score")(run / "nowhere")
