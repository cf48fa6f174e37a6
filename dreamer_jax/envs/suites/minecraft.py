"""Minecraft through MineRL 0.4.4: `minecraft:diamond`, `minecraft:wood`, `minecraft:climb`.

Tested against MineRL's own Python side and a simulator with its interface, never against the game.
A world is a function of its seed; what happens in it is not, so an episode can be neither saved nor
replayed, and a resumed run starts new ones. When the connection to the game breaks, MineRL goes on
with a random observation; that is an error here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.envs.suites.minecraft_tasks import MILESTONES, TASKS, Player, Task, reward
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_FLOAT = np.dtype(np.float32)
_LIFE, _FOOD, _AIR = 20.0, 20.0, 300.0  # when full
_PITCH_LIMIT = 60  # degrees from level
_SOME_LOGS = "log2"  # of two kinds of trees; counted as `log`, as crafting does


def names() -> list[str]:
    """Return every task."""
    return sorted(TASKS)


def make(
    name: str,
    /,
    *,
    size: tuple[int, int] = (64, 64),
    break_speed: float = 100.0,
    length: int = 36_000,
    jump_steps: int = 10,
) -> Env:
    """Start a game for a task.

    Args:
        name: `diamond`, `wood` or `climb`.
        size: Height and width of the player's view.
        break_speed: Multiplier of the speed at which blocks break; 1 is the game's own.
        length: Steps after which an episode is truncated; the game makes 20 in a second.
        jump_steps: Steps for which a jump is held, since a shorter one climbs nothing.

    Raises:
        UserError: For an unknown task, or where MineRL is not installed.
    """
    if name not in TASKS:
        raise unknown_name("minecraft task", name, TASKS)
    if length < 1 or jump_steps < 1:
        raise UserError(f"length={length}, jump_steps={jump_steps}; both are at least 1")
    try:
        from dreamer_jax.envs.suites.minerl_spec import MinecraftSpec
    except ModuleNotFoundError as error:
        raise UserError(
            f"minecraft needs the package {error.name!r}: pip install minerl==0.4.4, in an "
            "environment of its own with gym<0.20 and Java 8"
        ) from error
    game = MinecraftSpec((size[0], size[1]), break_speed).make()
    return Minecraft(game, TASKS[name], length=length, jump_steps=jump_steps)


class Minecraft:
    """One game and one task in it.

    Observations: `image`; `inventory` and `inventory_max`, how many of every item are held and the
    most that were; `equipped`, one-hot; `health`, `hunger` and `breath`, from 0 to 1.

    Args:
        game: A MineRL environment of `minerl_spec.MinecraftSpec`.
        task: Its actions and rewards.
        length: Steps of an episode.
        jump_steps: See `make`.
    """

    repeat = 1
    replayable = False  # the game's creatures and clock are no function of its seed

    def __init__(self, game: Any, task: Task, *, length: int, jump_steps: int) -> None:
        self._game, self._task = game, task
        self._length, self._jump_steps = length, jump_steps
        seen = game.observation_space
        self._items = [item for item in seen["inventory"].spaces if item != _SOME_LOGS]
        self._equippable = np.asarray(seen["equipped_items"]["mainhand"]["type"].values)
        self._idle = {key: _idle(key) for key in game.action_space.spaces}
        self._commands = list(task.actions.values())
        self._steps = self._jumping = self._pitch = 0
        self._most = np.zeros(len(self._items), np.float32)
        self._player = Player({}, {}, 1.0, 0.0)
        self._image = np.zeros(seen["pov"].shape, np.uint8)
        level = Space(_FLOAT, (1,))
        many = Space(_FLOAT, (len(self._items),))
        self.spaces = Spaces(
            {
                "image": Space(np.dtype(np.uint8), seen["pov"].shape),
                "inventory": many,
                "inventory_max": many,
                "equipped": Space(_FLOAT, (len(self._equippable),)),
                "health": level,
                "hunger": level,
                "breath": level,
            },
            {"action": Space(np.dtype(np.int32), (), len(self._commands))},
        )

    def reset(self, seed: int) -> Record:
        """Enter the world that `seed` determines."""
        self._steps = self._jumping = self._pitch = 0
        self._most = np.zeros_like(self._most)
        self._game.seed(seed)
        observed, self._player = self._observe(self._game.reset())
        return observed | signals(is_first=True)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Send one action; a broken connection to the game raises RuntimeError."""
        command = self._held(self._idle | dict(self._commands[int(action["action"])]))
        raw, _, dead, info = self._game.step(command)
        if "error" in info:
            raise RuntimeError(f"the connection to Minecraft broke: {info['error']}")
        before = self._player
        observed, self._player = self._observe(raw)
        self._steps += 1
        last = bool(dead) or self._steps >= self._length
        gained = reward(self._task, before, self._player)
        record = observed | signals(gained, is_last=last, is_terminal=bool(dead))
        if last:
            # Once an episode, so that their means are the shares of episodes with the item.
            most = self._player.most
            record |= {f"log/obtained/{item}": np.float32(most[item] > 0) for item in MILESTONES}
        return record

    def render(self) -> np.ndarray | None:
        """Return the player's view."""
        return self._image

    def close(self) -> None:
        """End the game."""
        game, self._game = self._game, None
        if game is not None:
            game.close()

    def _held(self, command: dict[str, Any]) -> dict[str, Any]:
        """Hold jumps, and stop the view from turning over."""
        if command["jump"]:
            self._jumping = self._jump_steps
        if self._jumping:
            self._jumping -= 1
            command |= {"jump": 1, "forward": 1}
        up_down, sideways = command["camera"]
        if abs(self._pitch + up_down) > _PITCH_LIMIT:
            up_down = 0
        self._pitch += up_down
        return command | {"camera": np.array([up_down, sideways], np.float32)}

    def _observe(self, raw: Mapping[str, Any]) -> tuple[Record, Player]:
        counts = {key: int(count) for key, count in raw["inventory"].items()}
        counts["log"] += counts.pop(_SOME_LOGS, 0)
        inventory = np.array([counts[item] for item in self._items], np.float32)
        self._most = np.maximum(self._most, inventory)
        most = dict(zip(self._items, self._most.astype(int).tolist(), strict=True))
        stats = raw["life_stats"]
        life = float(stats["life"]) / _LIFE
        self._image = np.array(raw["pov"], np.uint8)
        observed = {
            "image": self._image,
            "inventory": inventory,
            "inventory_max": self._most.copy(),
            "equipped": (self._equippable == str(raw["equipped_items"]["mainhand"]["type"])).astype(
                np.float32
            ),
            "health": np.array([life], np.float32),
            "hunger": np.array([float(stats["food"]) / _FOOD], np.float32),
            "breath": np.array([float(stats["air"]) / _AIR], np.float32),
        }
        held = {item: counts[item] for item in MILESTONES}
        height = float(raw["location_stats"]["ypos"])
        return observed, Player(held, {item: most[item] for item in MILESTONES}, life, height)


def _idle(key: str) -> Any:
    """Return what an action key says when nothing is done."""
    if key == "camera":
        return (0, 0)
    return "none" if key in ("place", "equip", "craft", "nearbyCraft", "nearbySmelt") else 0
