"""The agent of most checks: half a minute on one core, with rates that a small task forgives."""

OPTIONS = {
    "size": "64/16/4/2/32",
    "envs": 16,
    "batch_size": 8,
    "batch_length": 16,
    "train_ratio": 8.0,  # one update per step of all environments
    "agent.groups": 8,
    "agent.blocks": 4,
    "agent.imag_horizon": 8,
    # Ten times the quickstart's and more: few updates, and a task that forgives it.
    "agent.learning_rate": 3e-3,
    "agent.warmup": 100,
    "log.every": 500,
}
