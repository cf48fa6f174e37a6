"""ProcGen with 50M steps of hard levels without limit (docs/algorithm.md 9: ratio 64).

Cannot be installed by one command: the library's wheels ask for NumPy 1 but run with NumPy 2, so
they go in after the extra `procgen`, without their dependencies:

    pip install -c constraints.txt -e ".[procgen]"
    pip install -c constraints.txt --no-deps procgen-mirror gym3 gym
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "procgen:coinrun"
    config.steps = 50_000_000
    config.size = "200m"
    config.train_ratio = 64.0
    config.env.distribution = "hard"
    config.env.num_levels = 0
    config.env.start_level = 0
    config.log.report_every = 100_000
    return config
