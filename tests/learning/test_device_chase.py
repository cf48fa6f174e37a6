"""The agent learns in an environment that is stepped on the device: `device:chase` in a minute.

Four cells, so that the reward is met before the policy has settled on staying away from the trap:
on sixteen, with these rates, it learns to stay alive and no more, stepped by the host as well.
"""

from __future__ import annotations

import pytest
from learning_options import SMALL

from dreamer_jax.config import load_config
from dreamer_jax.runtime.run import run_training
from dreamer_jax.runtime.showing.metrics import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cheap_compile")]

OPTIONS = {
    **SMALL,
    "task": "device:chase",
    "steps": 16_000,
    "device_steps": 4,
    "agent.actor_learning_rate": 3e-3,
    "agent.critic_learning_rate": 3e-3,
    "evaluation.episodes": 64,
    "evaluation.envs": 16,
}
# Seeds 0, 1 and 2 scored 11.2, 8.2 and 10.8 when this was written; nearly random policies of the
# first updates 0.8 to 1.0.
THRESHOLD = 4.0


def test_agent_learns_to_chase_on_the_device(tmp_path):
    config = load_config("default")
    config.update_from_flattened_dict(OPTIONS)
    with config.unlocked():
        config.env.update({"cells": 2, "length": 16})
    assert run_training(config, tmp_path) == 0
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    scores = [row["eval/score"] for row in rows if "eval/score" in row]
    assert scores[-1] > THRESHOLD
