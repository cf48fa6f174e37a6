"""`device:chase` and `device:chase_image`: reach the target on a grid, and keep off the trap.

Small enough to be learned in a minute, and a function of key and actions. Reaching the target pays
1 and moves it; the trap ends the episode for good, the clock truncates it. So both endings, a
vector, a picture and a reported value occur in one environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.device_envs.protocol import DeviceEnv, Record, signals
from dreamer_jax.envs.naming import check_options, unknown_name
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space, Spaces

PIXELS = 48
_INT, _BYTE = np.dtype(np.int32), np.dtype(np.uint8)


class ChaseState(NamedTuple):
    """Places as cell numbers, row by row."""

    agent: jax.Array  # [] int32
    target: jax.Array  # [] int32
    trap: jax.Array  # [] int32
    clock: jax.Array  # [] int32 steps since the reset
    key: jax.Array  # [] key of the targets to come


@dataclass(frozen=True)
class Chase(DeviceEnv):
    """The grid. Actions: 0 up, 1 down, 2 left, 3 right; walls hold.

    Args:
        cells: Width and height of the grid, 2 to 16.
        length: Index of the last record.
        image: Whether records have a picture `[48, 48, 3]` beside the places.
    """

    cells: int = 4
    length: int = 24
    image: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.cells <= 16 or self.length < 1:
            raise UserError(
                f"cells={self.cells}, length={self.length}: 2 to 16 cells, at least 1 step"
            )

    @property
    def spaces(self) -> Spaces:
        """See `DeviceEnv`."""
        # Row and column of agent, target and trap.
        obs = {"places": Space(_INT, (3, 2), self.cells)}
        if self.image:
            obs["image"] = Space(_BYTE, (PIXELS, PIXELS, 3))
        return Spaces(obs, {"action": Space(_INT, (), 4)})

    def reset(self, key: jax.Array) -> tuple[ChaseState, Record]:
        """See `DeviceEnv`."""
        key, order_key = jax.random.split(key)
        agent, target, trap = jax.random.permutation(order_key, self.cells**2)[:3]
        state = ChaseState(agent, target, trap, jnp.int32(0), key)
        return state, self._observe(state) | signals(is_first=True)

    def step(self, state: ChaseState, action: dict[str, jax.Array]) -> tuple[ChaseState, Record]:
        """See `DeviceEnv`."""
        row, column = jnp.divmod(state.agent, self.cells)
        moved = jnp.array([-1, 1, 0, 0]), jnp.array([0, 0, -1, 1])
        row = jnp.clip(row + moved[0][action["action"]], 0, self.cells - 1)
        column = jnp.clip(column + moved[1][action["action"]], 0, self.cells - 1)
        agent = row * self.cells + column
        reached, caught = agent == state.target, agent == state.trap
        key, place_key = jax.random.split(state.key)
        target = jnp.where(reached, self._free_cell(place_key, agent, state.trap), state.target)
        state = ChaseState(agent, target, state.trap, state.clock + 1, key)
        record = signals(
            reward=reached, is_last=caught | (state.clock >= self.length), is_terminal=caught
        )
        return state, self._observe(state) | record | {"log/caught": caught.astype(jnp.float32)}

    def render(self, state: ChaseState) -> np.ndarray:
        """Return the picture `[48, 48, 3]`."""
        return np.asarray(self._picture(state))

    def _free_cell(self, key: jax.Array, *taken: jax.Array) -> jax.Array:
        """Return a cell drawn uniformly from those that are not taken."""
        cells = jnp.arange(self.cells**2)
        free = jnp.ones(len(cells), bool)
        for cell in taken:
            free &= cells != cell
        return jax.random.categorical(key, jnp.where(free, 0.0, -jnp.inf)).astype(jnp.int32)

    def _observe(self, state: ChaseState) -> Record:
        places = jnp.stack([state.agent, state.target, state.trap])
        record = {"places": jnp.stack(jnp.divmod(places, self.cells), -1)}
        return record | ({"image": self._picture(state)} if self.image else {})

    def _picture(self, state: ChaseState) -> jax.Array:
        """Return the agent in red, the target in green, the trap in blue."""
        pixel = jnp.arange(PIXELS) * self.cells // PIXELS
        cell = pixel[:, None] * self.cells + pixel[None, :]
        places = jnp.stack([state.agent, state.target, state.trap])
        return jnp.where(cell[:, :, None] == places[None, None, :], 255, 0).astype(jnp.uint8)


def _chase_image(cells: int = 4, length: int = 24) -> Chase:
    return Chase(cells, length, image=True)


_TASKS: dict[str, Callable[..., Chase]] = {"chase": Chase, "chase_image": _chase_image}


def make(name: str, /, **options: int) -> DeviceEnv:
    """Build one of the environments.

    Raises:
        UserError: For an unknown name or option.
    """
    if name not in _TASKS:
        raise unknown_name("device environment", name, _TASKS)
    check_options(f"device:{name}", _TASKS[name], options)
    return _TASKS[name](**options)
