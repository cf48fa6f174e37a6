"""BSuite: `--config=bsuite --config.task=bsuite:EXPERIMENT/SETTING`.

The train ratio is 1024 (docs/algorithm.md 9). Every setting is a run of its own, with one
environment. A score is final once the setting's episodes are done (10,000 of most experiments,
1,000 of cartpole and mountain car), whatever steps that takes; `dreamer-jax score RUN …` says
whether they are.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "bsuite:catch/0"
    config.steps = 1_000_000
    config.size = "200m"
    config.envs = 1
    config.train_ratio = 1024.0
    return config
