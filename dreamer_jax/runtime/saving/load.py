"""A trained agent from its run directory, for evaluation and for use in Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from dreamer_jax.device.compiled import (
    Compiled,
    array_table,
    compile_agent,
    restore_arrays,
    to_host,
)
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.environments import Envs, make_envs
from dreamer_jax.runtime.saving.checkpoint import Checkpointer, match_tree
from dreamer_jax.runtime.saving.rundir import RunDir, read_config
from dreamer_jax.types import Spaces


class Saved(NamedTuple):
    """Config, compiled functions and parameters of a checkpoint."""

    config: ConfigDict
    compiled: Compiled
    params: dict[str, Any]  # for acting
    grad_steps: int

    def make_envs(self, number: int, *, seed: int, process: int, watched: bool) -> Envs:
        """Make environments of the task that the agent was trained on; see `make_envs`."""
        warn = lambda text: warnings.warn(text, RuntimeWarning, stacklevel=2)
        return make_envs(
            self.config, number, seed=seed, process=process, watched=watched, warn=warn
        )


def load_saved(logdir: Path, find_size: Callable[[str], Any], step: int | None = None) -> Saved:
    """Load a checkpoint without its replay; changes nothing on disk.

    Args:
        logdir: Directory of the run.
        find_size: From a size's name to its row.
        step: Grad steps of the checkpoint; None for the newest whole one.

    Raises:
        UserError: If there is no run or no whole checkpoint, or it does not fit its config.
    """
    rundir = RunDir(logdir)
    config = ConfigDict(read_config(rundir))
    skipped: list[str] = []
    found = Checkpointer(rundir.checkpoints, config.checkpoint.keep, warn=skipped.append).load(step)
    if found is None:
        reason = "; ".join(skipped) or "none was saved yet; train first"
        raise UserError(f"{logdir} holds no whole checkpoint: {reason}")
    for message in skipped:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    compiled = compile_agent(config, find_size(config.size), _spaces(config))
    state = compiled.shape()
    expected = array_table(state, "state/")
    match_tree(expected, {k: v for k, v in found.arrays.items() if k.startswith("state/")})
    state = restore_arrays(state, found.arrays, "state/")
    return Saved(config, compiled, compiled.acting(state), found.step)


def _spaces(config: ConfigDict) -> Spaces:
    env = make_env(config.task, **config.env.to_dict())
    try:
        return env.spaces
    finally:
        env.close()


class Player:
    """An agent that acts in one environment and remembers what it has seen.

    Args:
        saved: From `load_saved`.
        sample: Draw actions instead of taking the most likely.
    """

    def __init__(self, saved: Saved, sample: bool = False) -> None:
        self.config, self.spaces = saved.config, saved.compiled.agent.spaces
        self._saved = saved
        self._mode = "train" if sample else "eval"
        self._calls = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next observation is the first of an episode."""
        self._carry = self._saved.compiled.initial_carry(1)
        self._first = True

    def act(self, obs: dict[str, Any] | np.ndarray) -> Any:
        """Return the action for one observation, without batch axis.

        Args:
            obs: By key, or the bare value where there is one key.

        Returns:
            By key, or the bare value where there is one key: class indices of discrete keys,
            values in −1 … 1 of continuous ones.

        Raises:
            UserError: If a key is missing, is not numeric, or has another shape.
        """
        named = obs if isinstance(obs, dict) else {min(self.spaces.obs): obs}
        batch = {key: self._check(named, key)[None] for key in self.spaces.obs}
        self._carry, action, _ = self._saved.compiled.policy(
            self._saved.params,
            self._carry,
            batch,
            np.array([self._first]),
            self._calls,
            mode=self._mode,
            role="evaluation",
        )
        self._first = False
        self._calls += 1
        bounded = {}
        for key, value in to_host(action).items():
            discrete = self.spaces.action[key].discrete
            bounded[key] = value[0] if discrete else np.clip(value[0], -1.0, 1.0)
        return bounded if len(bounded) > 1 else next(iter(bounded.values()))

    def _check(self, obs: dict[str, Any], key: str) -> np.ndarray:
        space = self.spaces.obs[key]
        if key not in obs:
            raise UserError(f"the observation lacks {key!r}; it needs {sorted(self.spaces.obs)}")
        try:
            value = np.asarray(obs[key], space.dtype)
        except (TypeError, ValueError) as error:
            raise UserError(f"{key!r} cannot be read as {space.dtype}: {error}") from error
        if value.shape != space.shape:
            raise UserError(f"{key!r} has shape {value.shape}, the agent knows {space.shape}")
        return value
