"""Any Gymnasium id: `--config=gymnasium --config.task=gymnasium:ID`."""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "gymnasium:Pendulum-v1"
    config.steps = 1_000_000
    config.size = "1m"
    config.train_ratio = 512.0
    config.env.repeat = 1
    return config
