"""An agent that acts in one environment of somebody else's loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamer_jax.device.compiled import to_host
from dreamer_jax.envs.values import limits
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.load import Saved


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
        self._calls, self._limits = 0, limits(self.spaces.obs)
        self.reset()

    def reset(self) -> None:
        """Forget the episode; the next observation is the first one of another episode."""
        self._carry = self._saved.compiled.initial_acting_carry(1)
        self._first = True

    def act(self, obs: dict[str, Any] | np.ndarray) -> Any:
        """Return the action for one observation, without batch axis.

        Args:
            obs: By key, or the bare value where there is one key.

        Returns:
            By key, or the bare value where there is one key: class indices of discrete keys,
            values in −1 … 1 of continuous ones.

        Raises:
            UserError: If a key is missing, is not numeric, has another shape, or holds what its
                space rules out (NaN, an infinity, an unknown class, a value that the type of the
                key would change). The agent then remembers what it did before.
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
        """Return a key's value as the agent takes it, or raise before it reaches the memory."""
        space = self.spaces.obs[key]
        if key not in obs:
            raise UserError(f"the observation lacks {key!r}; it needs {sorted(self.spaces.obs)}")
        try:
            found = np.asarray(obs[key])
            with np.errstate(invalid="ignore"):  # of NaN as an integer; it is refused below
                value = found.astype(space.dtype)
        except (TypeError, ValueError) as error:
            raise UserError(f"{key!r} cannot be read as {space.dtype}: {error}") from error
        if value.shape != space.shape:
            raise UserError(f"{key!r} has shape {value.shape}, the agent knows {space.shape}")
        if space.dtype.kind != "f" and not np.array_equal(value, found):
            bad = found[value != found].flat[0]
            raise UserError(
                f"{key!r} holds {bad}, which {space.dtype} would change; give the record's values, "
                "as the environment's adapter makes them"
            )
        if key in self._limits:
            least, below = self._limits[key]
            if not ((value >= least) & (value < below)).all():
                what = "finite numbers" if below == np.inf else f"classes 0 … {below - 1:.0f}"
                raise UserError(f"{key!r} holds {found.min()} … {found.max()}; it may hold {what}")
        return value
