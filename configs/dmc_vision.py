"""DeepMind Control from 64×64 pixels, 1M steps (docs/algorithm.md 9: ratio 256)."""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "dmc:walker_walk"
    config.steps = 1_000_000
    config.size = "12m"
    config.train_ratio = 256.0
    config.env.proprio = False
    config.env.image = True
    config.env.size = (64, 64)
    config.env.repeat = 1
    config.log.report_every = 20_000
    return config
