"""Presets are the published algorithm: what each may change is listed here."""

from __future__ import annotations

import pytest

from dreamer_jax.config import load_config, presets
from dreamer_jax.runtime.saving.rundir import differences

# What a run does with an agent: never what an update computes.
SCHEDULE = {"task", "steps", "size", "envs", "batch_size", "batch_length", "train_ratio"}
SCHEDULE |= {"env_workers"}
WATCHING = ("log.", "evaluation.", "checkpoint.", "env.")
# The quickstart alone also takes the founding document's learning rates.
RATES = {"agent.learning_rate", "agent.actor_learning_rate", "agent.critic_learning_rate"}
EXTRA = {
    "quickstart": RATES,
    "debug": {"agent.warmup"},
    "craftax": {"device_steps", "replay.capacity"},
}


@pytest.mark.parametrize("name", presets())
def test_presets_change_the_schedule_and_not_the_algorithm(name):
    """ "Solved by the same algorithm" is said of the quickstart; this keeps it true."""
    default, preset = (load_config(each).to_dict() for each in ("default", name))
    changed = {line.split(":")[0] for line in differences(default, preset)}
    changed = {key for key in changed if not key.startswith(WATCHING)}
    assert changed - SCHEDULE - EXTRA.get(name, set()) == set()
    assert changed or name == "default"


def test_quickstart_takes_the_rates_of_the_founding_document():
    agent = load_config("quickstart").agent
    rates = (agent.learning_rate, agent.actor_learning_rate, agent.critic_learning_rate)
    assert rates == (3e-4, 1e-4, 1e-4)
