"""Craftax-Symbolic, a million steps, stepped on the device; `--config.task=craftax:ID` for others.

Batch, ratio and size are those of the published Crafter runs; for Craftax none are published.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "craftax:Craftax-Symbolic-v1"
    config.steps = 1_000_000
    config.size = "12m"
    config.envs = 16
    config.device_steps = 8
    config.train_ratio = 512.0
    # A record holds 33 kB of symbols.
    config.replay.capacity = 300_000
    config.env.length = 0  # steps until an episode is truncated; 0: the package's own number
    return config
