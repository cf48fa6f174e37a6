"""`device:chase` and `device:chase_image`: reach the target on a grid, and keep off the trap.

Small enough to be learned in a minute, and a function of key and actions. Reaching the target pays
1 and moves it; the trap ends the episode for good, the clock truncates it. So both endings, a
vector, a picture and a reported value occur in one environment. Rules of reward, their scale and
the picture's background are those of `testing:chase`, on a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.device_envs.protocol import DeviceEnv, Record, signals
from dreamer_jax.envs.naming import check_options, unknown_name
from dreamer_jax.envs.testing import chase as line
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
    scene: jax.Array  # [] key of the background, the same all episode


@dataclass(frozen=True)
class Chase(DeviceEnv):
    """The grid. Actions: 0 up, 1 down, 2 left, 3 right; walls hold.

    Args:
        cells: Width and height of the grid, 2 to 16.
        length: Index of the last record.
        image: Whether records have a picture `[48, 48, 3]` beside the places.
        rule: What pays 1: to "reach" the target; to be in the "left"- or "right"-most column after
            a step; or to "flee", being two steps or more from the target after a step, where a
            target that was just reached counts as near.
        reward_scale: Factor of all rewards.
        object_size: Height and width of the three objects in pixels; 0 fills their cells.
        background: "clean" is black; "noise" a texture of grey spots, drawn for each episode, that
            moves by a random walk. It changes nothing but the picture.
    """

    cells: int = 4
    length: int = 24
    image: bool = False
    rule: str = "reach"
    reward_scale: float = 1.0
    object_size: int = 0
    background: str = "clean"

    def __post_init__(self) -> None:
        if not 2 <= self.cells <= 16 or self.length < 1:
            raise UserError(
                f"cells={self.cells}, length={self.length}: 2 to 16 cells, at least 1 step"
            )
        room = PIXELS // self.cells
        line.check_shared(self.rule, self.image, self.object_size, room, self.background)

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
        scene = jax.random.fold_in(key, 1)
        key, order_key = jax.random.split(key)
        agent, target, trap = jax.random.permutation(order_key, self.cells**2)[:3]
        state = ChaseState(agent, target, trap, jnp.int32(0), key, scene)
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
        paid = self._pays(agent, state.target)
        state = ChaseState(agent, target, state.trap, state.clock + 1, key, state.scene)
        record = signals(
            reward=self.reward_scale * paid,
            is_last=caught | (state.clock >= self.length),
            is_terminal=caught,
        )
        return state, self._observe(state) | record | {"log/caught": caught.astype(jnp.float32)}

    def render(self, state: ChaseState) -> np.ndarray:
        """Return the picture `[48, 48, 3]`."""
        return np.asarray(self._picture(state))

    def _pays(self, agent: jax.Array, target: jax.Array) -> jax.Array:
        """Return whether the agent's new place pays, with the target where it was."""
        row, column = jnp.divmod(agent, self.cells)
        if self.rule == "left":
            return column == 0
        if self.rule == "right":
            return column == self.cells - 1
        target_row, target_column = jnp.divmod(target, self.cells)
        distance = jnp.abs(row - target_row) + jnp.abs(column - target_column)
        return distance == 0 if self.rule == "reach" else distance >= 2

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
        pixel = jnp.arange(PIXELS)
        cell = pixel * self.cells // PIXELS
        cells = cell[:, None] * self.cells + cell[None, :]
        places = jnp.stack([state.agent, state.target, state.trap])
        shown = cells[:, :, None] == places[None, None, :]
        if self.object_size:
            width = PIXELS // self.cells
            # Cells of different widths occur where their number does not divide the picture.
            first = (cell * PIXELS + self.cells - 1) // self.cells
            offset = pixel - first - (width - self.object_size) // 2
            inside = (offset >= 0) & (offset < self.object_size)
            shown &= (inside[:, None] & inside[None, :])[:, :, None]
        objects = jnp.where(shown, 255, 0).astype(jnp.uint8)
        if self.background == "clean":
            return objects
        return jnp.where(shown.any(-1, keepdims=True), objects, self._background(state))

    def _background(self, state: ChaseState) -> jax.Array:
        """Return the texture `[48, 48, 1]` of an episode where it has moved to by now."""
        spot_key, path_key = jax.random.split(state.scene)
        spots = PIXELS // line.TEXEL
        texture = jax.random.randint(spot_key, (spots, spots), 0, line.DARK).astype(jnp.uint8)
        texture = texture.repeat(line.TEXEL, 0).repeat(line.TEXEL, 1)
        path = jax.random.randint(path_key, (self.length + 1, 2), -2, 3).cumsum(0)
        down, right = path[jnp.minimum(state.clock, self.length)]
        return jnp.roll(texture, (down, right), (0, 1))[:, :, None]


def _chase_image(
    cells: int = 4,
    length: int = 24,
    rule: str = "reach",
    reward_scale: float = 1.0,
    object_size: int = 0,
    background: str = "clean",
) -> Chase:
    return Chase(cells, length, True, rule, reward_scale, object_size, background)


_TASKS: dict[str, Callable[..., Chase]] = {"chase": Chase, "chase_image": _chase_image}


def make(name: str, /, **options: Any) -> DeviceEnv:
    """Build one of the environments.

    Raises:
        UserError: For an unknown name or option.
    """
    if name not in _TASKS:
        raise unknown_name("device environment", name, _TASKS)
    check_options(f"device:{name}", _TASKS[name], options)
    return _TASKS[name](**options)
