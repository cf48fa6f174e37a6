"""The three x-axes of a run: simulator steps, decisions, updates."""

from __future__ import annotations

import sys

import pytest
import trained
from tiny_run import tiny_run

from dreamer_jax.runtime.run import run_training

pytestmark = pytest.mark.usefixtures("cheap_compile")

WALK = """
from dreamer_jax.envs.adapters.functions import from_functions

class Walk:
    def reset(self, seed):
        self.x = 0.0
        return self.x

    def step(self, action):
        self.x += float(action)
        return self.x, 1.0, False

def make():
    return from_functions(Walk(), action=(-1.0, 1.0))
"""


def test_simulator_steps_count_the_repeats_of_an_action(tmp_path, monkeypatch):
    """env_steps without the action repeat passed every test."""
    (tmp_path / "a_walk.py").write_text(WALK)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"env.repeat": 3, "env.time_limit": 30, "steps": 60, "train_ratio": 0.5}
    assert run_training(tiny_run("a_walk:make", options), tmp_path / "run") == 0
    rows = trained.read_lines(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["policy_steps"] >= 60
    assert [row["env_steps"] for row in rows] == [3 * row["policy_steps"] for row in rows]
    (length,) = {row["episode/length"] for row in rows if "episode/length" in row}
    (score,) = {row["episode/score"] for row in rows if "episode/score" in row}
    assert (length, score) == (10, 30), "ten decisions, thirty steps of the simulator"
    del sys.modules["a_walk"]
