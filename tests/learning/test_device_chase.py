"""The agent learns in an environment that is stepped on the device: `device:chase` in minutes."""

from __future__ import annotations

import pytest

from dreamer_jax.commands.train import run_training
from dreamer_jax.config import load_config
from dreamer_jax.runtime.metrics import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cheap_compile")]

OPTIONS = {
    "task": "device:chase",
    "steps": 24_000,
    "size": "64/16/4/2/32",
    "envs": 16,
    "device_steps": 4,
    "batch_size": 8,
    "batch_length": 16,
    "train_ratio": 8.0,  # one update per step of all environments
    "agent.groups": 8,
    "agent.blocks": 4,
    "agent.imag_horizon": 8,
    "agent.learning_rate": 3e-3,
    "agent.actor_learning_rate": 3e-3,
    "agent.critic_learning_rate": 3e-3,
    "agent.warmup": 100,
    "evaluation.episodes": 64,
    "evaluation.envs": 16,
}


def test_agent_learns_to_chase_on_the_device(tmp_path):
    config = load_config("default")
    config.update_from_flattened_dict(OPTIONS)
    assert run_training(config, tmp_path) == 0
    rows = list(read_rows(tmp_path / "metrics.jsonl"))
    scores = [row["eval/score"] for row in rows if "eval/score" in row]
    assert scores[-1] > 3.0
