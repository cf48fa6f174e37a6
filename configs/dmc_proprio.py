"""DeepMind Control from joint states, 500k steps (docs/algorithm.md 9: ratio 1024, size 1m)."""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "dmc:walker_walk"
    config.steps = 500_000
    config.size = "1m"
    config.train_ratio = 1024.0
    config.env.proprio = True
    config.env.image = False
    config.env.repeat = 1
    return config
