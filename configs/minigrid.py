"""MiniGrid and BabyAI from symbols: `--config=minigrid --config.task=minigrid:ID`.

No run of it was published; the schedule is that of other small tasks (docs/algorithm.md 9,
DMC from joint states).
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "minigrid:MiniGrid-DoorKey-6x6-v0"
    config.steps = 500_000
    config.size = "1m"
    config.train_ratio = 1024.0
    config.env.view = "symbols"
    config.env.whole = False
    config.env.mission = "words"
    config.env.size = (64, 64)
    return config
