"""Atari with 400k frames, 100k decisions (docs/algorithm.md 9: ratio 256, one environment).

64×64 colour, needed actions only, no sticky actions.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "atari:pong"
    config.steps = 100_000
    config.size = "200m"
    config.envs = 1
    config.train_ratio = 256.0
    config.env.size = (64, 64)
    config.env.gray = False
    config.env.sticky = False
    config.env.actions = "needed"
    config.env.repeat = 4
    config.env.noops = 30
    config.log.report_every = 5_000
    return config
