"""CartPole-v1 on two CPU cores in minutes; the algorithm of every other preset.

It differs from them in size, batch shape, train ratio, environments, and in the founding
document's learning rates for small problems; a test holds it to that.
"""

from dreamer_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return the preset."""
    config = default.get_config()
    config.task = "gymnasium:CartPole-v1"
    # Many environments and small batches: time is scarce here, environment steps are not. With
    # half of each batch new, a drift towards the edge of the track is noticed before it is a habit.
    config.steps = 192_000
    config.size = "500k"
    config.envs = 32
    config.batch_size = 4
    config.batch_length = 16
    config.train_ratio = 2.0  # one update per step of all environments
    config.agent.learning_rate = 3e-4  # founding document, "small-scale problems"
    config.agent.actor_learning_rate = 1e-4  # likewise
    config.agent.critic_learning_rate = 1e-4  # likewise
    config.log.every = 1000
    config.evaluation.episodes = 100
    config.evaluation.envs = 20
    config.evaluation.video = True
    return config
