"""Minecraft diamond, 100M steps (docs/algorithm.md 9: ratio 32), through MineRL.

Never run against the game here. A record has 33 kB (picture 12, inventory 5, latent in bfloat16
16), so that the full replay needs 167 GB of memory; give a smaller `--config.replay.capacity`
where there is less.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "minecraft:diamond"
    config.steps = 100_000_000
    config.size = "200m"
    config.train_ratio = 32.0
    config.env_workers = "process"  # a game takes seconds to start and half a core to run
    config.env.size = (64, 64)
    config.env.break_speed = 100.0
    config.env.length = 36_000
    config.log.report_every = 100_000
    return config
