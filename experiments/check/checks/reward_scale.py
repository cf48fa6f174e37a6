"""Does `testing:chase` become no harder when its rewards are a thousandth, or ten thousandfold?

Symlog two-hot heads and the return normaliser are what should make it so. The paper's normaliser
divides by the range of returns, but never by less than `agent.return_limit` = 1, so that small
rewards are not amplified: the smallest scale is where the claim is in danger.

The control is an actor that learns nothing; counting rewards as 1 it plays at any scale as it does
at 1. It scores 2.6 and the shortest path 9.5, so beating it by less than 3 is not learning, however
sure it is. This margin was set after a first judgement without one, which a lead of 0.12 had passed
at the smallest scale; it can only make the check harder.

Two arms are reported only: small returns amplified, and large ones not normalised (percentiles that
coincide leave the scale at the limit).
"""

from __future__ import annotations

from pathlib import Path

from experiments.check.declare import Arm, Check
from experiments.check.measures import late_mean, option
from experiments.check.small_agent import OPTIONS

_mean_score = late_mean("episode/score")


def relative_score(run: Path) -> float:
    """Return the late training score in units of the run's reward scale."""
    return _mean_score(run) / option(run, "env.reward_scale")


def _scaled(scale: float, **options: float) -> Arm:
    return Arm({"env.reward_scale": scale, **{f"agent.{k}": v for k, v in options.items()}})


CHECK = Check(
    claim="chase is learned at reward scales 1e-3, 1 and 1e4 alike",
    kind="S",
    arms={
        "tiny": _scaled(1e-3),
        "one": _scaled(1.0),
        "huge": _scaled(1e4),
        "frozen": Arm({"env.reward_scale": 1.0, "agent.loss_scales.actor": 0.0}),
        "tiny_amplified": _scaled(1e-3, return_limit=1e-3),
        "huge_unnormalised": _scaled(1e4, return_low=50.0, return_high=50.0),
    },
    pairs=[("tiny", "frozen"), ("one", "frozen"), ("huge", "frozen")],
    measure=relative_score,
    measured="mean score of training episodes over the last quarter of steps, rewards counted as 1",
    minutes=10,
    margin=3.0,
    options={
        **OPTIONS,
        "task": "testing:chase",
        "steps": 8_000,
        "agent.actor_learning_rate": 3e-3,
        "agent.critic_learning_rate": 3e-3,
    },
)
