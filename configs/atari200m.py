"""Atari with 200M frames (docs/algorithm.md 9: ratio 32).

96×96 grey, all actions, sticky actions, maximum over the last two frames.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "atari:pong"
    config.steps = 50_000_000
    config.size = "200m"
    config.train_ratio = 32.0
    config.env.size = (96, 96)
    config.env.gray = True
    config.env.sticky = True
    config.env.actions = "all"
    config.env.repeat = 4
    config.env.noops = 30
    config.log.report_every = 100_000
    return config
