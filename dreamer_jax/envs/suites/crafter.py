"""Crafter, the survival game with 22 achievements: `crafter:reward` and `crafter:noreward`.

The package's own episodes are no function of their seed: it keeps creatures in sets, which Python
orders by memory address, and draws from them; and every picture of a night draws noise from the
random numbers of the world. Here creatures are drawn from in the order in which they came, and a
picture that nobody acts on leaves the world as it was.

The last record of an episode says which achievements it unlocked, as `log/achievement_NAME` of 0 or
1, so that their means over episodes are the success rates behind the Crafter score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import crafter
import numpy as np

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

NAMES = ("noreward", "reward")
_RENDER_SIZE = (288, 288)  # 32 pixels for each of 9×9 cells
_CELLS = 9  # in view, along each side


def make(name: str, /, *, size: tuple[int, int] = (64, 64), time_limit: int = 10_000) -> Crafter:
    """Build the game; the defaults are those of the benchmark.

    Args:
        name: `reward` or `noreward`, whose rewards are 0.
        size: Height and width of the picture.
        time_limit: Steps after which an episode is truncated.

    Raises:
        UserError: For another name, or an option out of range.
    """
    if name not in NAMES:
        raise unknown_name("Crafter task", name, NAMES)
    if min(size) < _CELLS or time_limit < 1:
        raise UserError(
            f"size={tuple(size)}, time_limit={time_limit}: a picture has at least "
            f"{_CELLS}×{_CELLS} pixels and an episode at least one step"
        )
    return Crafter(name == "reward", (size[0], size[1]), time_limit)


class _Game(crafter.Env):
    """The game, with an order among its creatures."""

    def start(self, seed: int) -> np.ndarray:
        """Begin the world that `seed` determines, whatever was played before."""
        self._seed, self._episode = seed, 0
        return self.reset()

    def picture(self, size: tuple[int, int]) -> np.ndarray:
        """Draw without moving the world's random numbers on."""
        state = self._world.random.get_state()
        picture = self.render(size)
        self._world.random.set_state(state)
        return picture

    def _balance_chunk(self, chunk: Any, objs: Iterable[Any]) -> None:
        # The number an object has on the map counts up from the first one made.
        super()._balance_chunk(chunk, sorted(objs, key=self._number))

    def _number(self, obj: Any) -> int:
        return int(self._world._obj_map[tuple(obj.pos)])


class Crafter:
    """One game. `make` documents and checks the arguments."""

    repeat = 1

    def __init__(self, reward: bool, size: tuple[int, int], time_limit: int) -> None:
        # The package's sizes are (width, height), pictures [height, width].
        self._game = _Game(size=size[::-1], reward=reward, length=time_limit)
        self.spaces = Spaces(
            {"image": Space(np.dtype(np.uint8), (*size, 3))},
            {"action": Space(np.dtype(np.int32), (), int(self._game.action_space.n))},
        )

    def reset(self, seed: int) -> Record:
        """Start the world that `seed` determines."""
        return {"image": self._game.start(seed), **signals(is_first=True)}

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        image, reward, over, info = self._game.step(int(action["action"]))
        record = {
            "image": image,
            **signals(reward, is_last=over, is_terminal=info["discount"] == 0),
        }
        if over:
            for name, count in info["achievements"].items():
                record[f"log/achievement_{name}"] = np.float32(count > 0)
        return record

    def render(self) -> np.ndarray:
        """Return a picture larger than the observed one."""
        return self._game.picture(_RENDER_SIZE)

    def close(self) -> None:
        """Do nothing: the game goes with the object."""
