"""Everything once, in seconds: a tiny agent on an environment with every kind of key."""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "testing:mixed"
    config.steps = 200
    config.size = "100k"
    config.envs = 2
    config.batch_size = 2
    config.batch_length = 8
    config.train_ratio = 4.0
    config.agent.warmup = 10
    config.log.every = 20
    config.log.report_every = 100
    config.checkpoint.seconds = 5.0
    return config
