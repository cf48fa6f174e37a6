"""DMLab-30 levels, 100M frames (docs/algorithm.md 9: ratio 32).

Never run against the game here.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "dmlab:rooms_watermaze"
    config.steps = 25_000_000
    config.size = "200m"
    config.train_ratio = 32.0
    config.env.size = (64, 64)
    config.env.repeat = 4
    config.env.hold_out = False
    config.env.renderer = "hardware"
    config.log.report_every = 100_000
    return config
