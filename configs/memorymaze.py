"""Memory Maze from pictures: `--config=memorymaze --config.task=memorymaze:9x9` up to 15x15.

docs/algorithm.md 9 has no row for it; the schedule is that of DMLab (ratio 32, 16 environments).
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "memorymaze:9x9"
    config.steps = 100_000_000
    config.size = "200m"
    config.train_ratio = 32.0
    config.env.time_limit = 0  # the maze's own
    config.log.report_every = 100_000
    return config
