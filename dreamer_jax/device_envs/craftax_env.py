"""Craftax (arXiv 2402.16801), full and classic, symbolic and from pixels: `craftax:ID`.

IDs are the package's: `Craftax-Symbolic-v1`, `Craftax-Pixels-v1`, `Craftax-Classic-Symbolic-v1`,
`Craftax-Classic-Pixels-v1`. Dying, and winning, is terminal; the clock truncates. Pictures come as
uint8 and are extended with black to sides that the encoder can halve four times. The last record of
an episode says which achievements it unlocked, as `log/achievement_NAME` of 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.device_envs.protocol import DeviceEnv, Record, signals
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space, Spaces

_SYMBOLIC, _PIXELS = "Symbolic", "Pixels"
_IDS = [f"Craftax-{kind}{seen}-v1" for kind in ("", "Classic-") for seen in (_SYMBOLIC, _PIXELS)]
_MULTIPLE = 16  # four halvings
_NEVER = np.iinfo(np.int32).max


class CraftaxState(NamedTuple):
    """A world, and the key of what happens in it."""

    world: Any  # the package's EnvState
    key: jax.Array


@dataclass(frozen=True)
class Craftax(DeviceEnv):
    """One world.

    Args:
        name: ID.
        length: Steps after which an episode is truncated; 0 for the package's own number.
    """

    name: str
    length: int = 0

    def __post_init__(self) -> None:
        if self.name not in _IDS:
            raise unknown_name("Craftax environment", self.name, _IDS)
        if self.length < 0:
            raise UserError(f"length={self.length}; an episode has at least one step, 0: as given")
        self._game  # noqa: B018 - a package that is missing is missed here, outside of any trace

    @property
    def spaces(self) -> Spaces:
        """See `DeviceEnv`."""
        action = Space(np.dtype(np.int32), (), self._game.num_actions)
        shape = self._game.observation_space(self._params).shape
        if _PIXELS in self.name:
            padded = (*(-(-side // _MULTIPLE) * _MULTIPLE for side in shape[:2]), shape[2])
            return Spaces({"image": Space(np.dtype(np.uint8), padded)}, {"action": action})
        return Spaces({"symbols": Space(np.dtype(np.float32), shape)}, {"action": action})

    def reset(self, key: jax.Array) -> tuple[CraftaxState, Record]:
        """See `DeviceEnv`."""
        world_key, key = jax.random.split(key)
        seen, world = self._game.reset_env(world_key, self._params)
        return CraftaxState(world, key), self._observe(seen) | signals(is_first=True)

    def step(
        self, state: CraftaxState, action: dict[str, jax.Array]
    ) -> tuple[CraftaxState, Record]:
        """See `DeviceEnv`."""
        step_key, key = jax.random.split(state.key)
        seen, world, reward, done, _ = self._game.step_env(
            step_key, state.world, action["action"], self._params
        )
        # The package ends an episode in one way only; without a clock, what remains is a true end.
        endless = self._params.replace(max_timesteps=_NEVER)
        terminal = self._game.is_terminal(world, endless)
        record = self._observe(seen) | signals(reward, is_last=done, is_terminal=terminal)
        return CraftaxState(world, key), record | self._achievements(world, done)

    def render(self, state: CraftaxState) -> np.ndarray:
        """Return the picture that the pixel variant would show."""
        return np.asarray(_picture(self._painter.get_obs(state.world)))

    @cached_property
    def _game(self) -> Any:
        return _make(self.name)

    @cached_property
    def _painter(self) -> Any:
        return _make(self.name.replace(_SYMBOLIC, _PIXELS))

    @cached_property
    def _params(self) -> Any:
        params = self._game.default_params
        return params.replace(max_timesteps=self.length) if self.length else params

    @cached_property
    def _names(self) -> list[tuple[str, int]]:
        if "Classic" in self.name:
            from craftax.craftax_classic.constants import Achievement
        else:
            from craftax.craftax.constants import Achievement
        return [(each.name.lower(), each.value) for each in Achievement]

    def _achievements(self, world: Any, done: jax.Array) -> Record:
        unlocked = jnp.where(done, world.achievements.astype(jnp.float32), jnp.nan)
        return {f"log/achievement_{name}": unlocked[index] for name, index in self._names}

    def _observe(self, seen: jax.Array) -> Record:
        space = next(iter(self.spaces.obs.values()))
        if not space.is_image:
            return {"symbols": seen.astype(jnp.float32)}
        missing = [(0, wide - held) for wide, held in zip(space.shape, seen.shape, strict=True)]
        return {"image": jnp.pad(_picture(seen), missing)}


def make(name: str, /, length: int = 0) -> DeviceEnv:
    """Build one of the environments; see `Craftax`.

    Raises:
        UserError: For an unknown id.
    """
    return Craftax(name, length)


def _make(name: str) -> Any:
    # With resets of its own it would drop the last record of every episode.
    from craftax.craftax_env import make_craftax_env_from_name

    return make_craftax_env_from_name(name, auto_reset=False)


def _picture(seen: jax.Array) -> jax.Array:
    """Return bytes of brightness in [0, 1]."""
    return jnp.round(seen * 255).astype(jnp.uint8)
