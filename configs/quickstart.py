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
    # Small batches, because time is scarce. Few environments, because an episode should meet one
    # policy: eight share 32 steps between two updates, so that 500 steps span 125 updates. With
    # more, a policy that drifts off the track changes course before it gets there, is never shown
    # the fall, and fails when it is evaluated as it stands.
    config.steps = 320_000
    config.size = "500k"
    config.envs = 8
    config.batch_size = 4
    config.batch_length = 16
    config.train_ratio = 2.0
    config.agent.learning_rate = 3e-4  # founding document, "small-scale problems"
    config.agent.actor_learning_rate = 1e-4  # likewise
    config.agent.critic_learning_rate = 1e-4  # likewise
    config.log.every = 1000
    config.evaluation.episodes = 100
    config.evaluation.envs = 20
    config.evaluation.video = True
    return config
