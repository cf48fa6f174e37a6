"""What do stored latents before each row of replay (`replay.context`) do for learning?

With them a row starts in the state that the policy had there, without them in the initial state.
`testing:chase` shows its whole state in every record, so little is expected; what it costs in
updates per second is the second question, and not asked here.
"""

from __future__ import annotations

from experiments.check.declare import Arm, Check
from experiments.check.measures import late_mean
from experiments.check.small_agent import OPTIONS

CHECK = Check(
    claim="chase is learned as well with rows that start from stored latents as from initial ones",
    kind="O",
    arms={"stored": Arm({"replay.context": 1}), "initial": Arm({"replay.context": 0})},
    pairs=[("stored", "initial")],
    measure=late_mean("episode/score", 0.5),
    measured="mean score of training episodes over the last half of steps",
    minutes=5,
    options={
        **OPTIONS,
        "task": "testing:chase",
        "steps": 8_000,
        "agent.actor_learning_rate": 3e-3,
        "agent.critic_learning_rate": 3e-3,
    },
)
