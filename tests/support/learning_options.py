"""What the learning tests train: the agent of most checks, without its rows of metrics."""

from experiments.check.small_agent import OPTIONS

SMALL = {name: value for name, value in OPTIONS.items() if name != "log.every"}
