"""The replay of a run: its columns, its capacity, and the refusal of what cannot fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.errors import UserError
from dreamer_jax.replay import Replay, check_memory, replay_bytes
from dreamer_jax.types import SIGNALS, Space, Spaces


def replay_columns(spaces: Spaces) -> dict[str, Space]:
    """Return the columns that `driver.replay_record` fills."""
    columns = {f"obs/{key}": space for key, space in spaces.obs.items()}
    columns |= {f"action/{key}": space for key, space in spaces.action.items()}
    columns["reward"] = Space(np.dtype(np.float32), ())
    return columns | {key: Space(np.dtype(bool), ()) for key in SIGNALS if key != "reward"}


def make_replay(config: Any, spaces: Spaces, compiled: Compiled, process: int = 0) -> Replay:
    """Allocate the replay of a process, given its share of the config.

    Raises:
        UserError: If it needs more than 80 % of the memory, or too few windows would fit.
    """
    columns, latent = replay_columns(spaces), compiled.latent_spaces()
    # A reset record per episode is not a policy step, hence a margin over the run's steps.
    capacity = min(config.replay.capacity, config.steps + config.steps // 10 + 100 * config.envs)
    capacity = max(capacity, 4 * config.batch_size * config.batch_length)
    check_memory(replay_bytes(columns, *latent, capacity=capacity, streams=config.envs))
    try:
        return Replay(
            columns,
            *latent,
            capacity=capacity,
            streams=config.envs,
            batch_size=config.batch_size,
            length=config.batch_length,
            context=config.replay.context,
            online=config.replay.online,
            recency=config.replay.recency,
            seed=[config.seed, 1, process],
        )
    except ValueError as error:
        raise UserError(str(error)) from error
