"""Locomotion examples of dm_control, camera and proprioception.

docs/algorithm.md 9 has no row for them; the schedule is that of DMC vision (ratio 256).
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "locomotion:rodent_maze_forage"
    config.steps = 10_000_000
    config.size = "200m"
    config.train_ratio = 256.0
    config.env.repeat = 1
    config.log.report_every = 100_000
    return config
