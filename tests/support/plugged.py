"""The plug-ins of tests/plugins in configs: what each is named by, and what it needs."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict
from tiny_run import tiny_run

PENDULUM = {"task": "gymnasium:Pendulum-v1", "env.time_limit": 20}
CARTPOLE = {"task": "gymnasium:CartPole-v1"}
PICTURES = {"task": "testing:mixed", "log.report_every": 20}

# Dotted options of each plug-in; keys that the default config lacks are added.
PLUGGED: dict[str, dict[str, Any]] = {
    "dynamics": PENDULUM
    | {
        "agent.dynamics": "clocked_dynamics:make",
        "agent.options.codes": 5,
        "agent.loss_scales.surprise": 0.5,
    },
    "behavior": CARTPOLE | {"agent.behaviors.curious": "curious_behavior:make"},
    "heads": CARTPOLE
    | {
        "agent.heads.reward": "gaussian_head:make",
        "agent.heads.cont": "ensemble_head:make",
        "agent.options.members": 3,
    },
    "objective": CARTPOLE
    | {
        "agent.objectives.decoder": "",
        "agent.objectives.contrast": "contrast_objective:make",
        "agent.loss_scales.contrast": 1.0,
    },
    "planner": PENDULUM
    | {
        "agent.behaviors.planner": "shooting_planner:make",
        "agent.acts": "planner",
        "agent.options.candidates": 7,
        "agent.options.plan": 3,
    },
    "phases": CARTPOLE | {"agent.phases": "two_phases:make"},
    "source": {"task": "stored", "source": "stored_source:make"},  # and env.path
    "logger": PICTURES | {"log.outputs": "tape_logger:make"},
    "actor_loss": PENDULUM | {"agent.actor_loss": "pathwise_loss:make"},
}


def plugged_run(name: str, options: dict[str, Any]) -> ConfigDict:
    """Return the config of a tiny run with a plug-in; `options` are dotted overrides."""
    config = tiny_run("", {"steps": 100, "batch_size": 4, "envs": 4, "train_ratio": 32.0})
    with config.unlocked():
        for dotted, value in (PLUGGED[name] | options).items():
            section, _, key = dotted.rpartition(".")
            target = config
            for part in section.split(".") if section else ():
                target = target[part]
            target[key] = value
    return config
