"""Crafter with 1M steps (docs/algorithm.md 9: ratio 512, one environment)."""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "crafter:reward"
    config.steps = 1_000_000
    config.size = "200m"
    config.envs = 1
    config.train_ratio = 512.0
    config.env.size = (64, 64)
    config.env.time_limit = 10_000
    config.log.report_every = 20_000
    return config
