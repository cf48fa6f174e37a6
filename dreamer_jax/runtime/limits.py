"""Refuses numbers that no run can have, before anything is built or written.

What depends on the environment or on other numbers (bins, replay capacity, memory) is refused
where it is known.
"""

from __future__ import annotations

import math
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.errors import UserError

_LEAST = {
    "seed": 0,
    "steps": 1,
    "envs": 1,
    "stop_after_skips": 0,
    "device_steps": 0,
    "batch_size": 1,
    "batch_length": 2,
    "mesh.fsdp": 1,
    "replay.capacity": 1,
    "log.every": 0,
    "log.report_every": 0,
    "log.trace_first": 0,
    "log.trace_updates": 0,
    "checkpoint.keep": 1,
    "evaluation.episodes": 0,
    "evaluation.envs": 1,
    "agent.groups": 1,
    "agent.blocks": 1,
    "agent.decoder_blocks": 1,
    "agent.imag_horizon": 1,
    "agent.imag_last": 0,
    "agent.discount_horizon": 1,
    "agent.warmup": 0,
    "agent.decay_updates": 0,
}
_SHARES = (
    "replay.recency",
    "agent.unimix",
    "agent.actor_unimix",
    "agent.imag_lambda",
    "agent.replay_lambda",
    "agent.slow_rate",
    "agent.return_rate",
)
_MOST_SEED = 2**32 - 1  # JAX keys would repeat


def check_limits(config: ConfigDict, size: Any) -> None:
    """Check counts, shares and what must divide.

    Args:
        config: Whole config.
        size: Its row of the size table.

    Raises:
        UserError: Naming the first option that is out of range.
    """
    layers = {f"agent.{name}": 1 for name in config.agent if name.endswith("_layers")}
    for name, least in (_LEAST | layers).items():
        if _get(config, name) < least:
            raise UserError(f"config.{name}={_get(config, name)}; it must be at least {least}")
    for name in _SHARES:
        if not 0 <= _get(config, name) <= 1:
            raise UserError(f"config.{name}={_get(config, name)}; it must be from 0 to 1")
    if config.seed > _MOST_SEED:
        raise UserError(f"config.seed={config.seed}; it must be at most {_MOST_SEED}")
    if not 0 < config.train_ratio < math.inf:
        raise UserError(f"config.train_ratio={config.train_ratio}; it must be above 0 and finite")
    if config.replay.context not in (0, 1):
        raise UserError(f"config.replay.context={config.replay.context}; it must be 0 or 1")
    if size.deter % config.agent.blocks:
        raise UserError(
            f"config.agent.blocks={config.agent.blocks} does not divide the {size.deter} units of "
            f"config.size={config.size}"
        )


def _get(config: ConfigDict, dotted: str) -> Any:
    value: Any = config
    for part in dotted.split("."):
        value = value[part]
    return value
