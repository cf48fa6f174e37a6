"""A stand-in for MineRL's game with its interface: dict actions in, nested dict observations out.

Spaces are MineRL's own where it is installed, otherwise a short form of them. The game is a script:
each command of the tech tree works if what it needs is held, and turns into what it makes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from dreamer_jax.envs.suites.minecraft_tasks import MILESTONES

HAS_MINERL = importlib.util.find_spec("minerl") is not None
_NAMED = ("place", "equip", "craft", "nearbyCraft", "nearbySmelt")
_KEYS = ("forward", "back", "left", "right", "jump", "sneak", "attack")

# What is used up to make a thing.
_RECIPES = {
    ("craft", "planks"): ("log", 1, 4),
    ("craft", "stick"): ("planks", 1, 4),
    ("craft", "crafting_table"): ("planks", 1, 1),
    ("nearbyCraft", "wooden_pickaxe"): ("stick", 1, 1),
    ("nearbyCraft", "stone_pickaxe"): ("cobblestone", 1, 1),
    ("nearbyCraft", "furnace"): ("cobblestone", 1, 1),
    ("nearbySmelt", "iron_ingot"): ("iron_ore", 1, 1),
    ("nearbyCraft", "iron_pickaxe"): ("iron_ingot", 1, 1),
}
# What breaking a block yields with the tool in hand.
_YIELDS = {
    "wooden_pickaxe": "cobblestone",
    "stone_pickaxe": "iron_ore",
    "iron_pickaxe": "diamond",
}


class Names(gymnasium.Space):
    """As `minerl.herobraine.hero.spaces.Enum`: one of some words, sorted."""

    def __init__(self, *values: str) -> None:
        self.values = np.array(sorted(values))
        super().__init__((), np.dtype(str))

    def contains(self, x: Any) -> bool:
        return x in self.values


def short_spaces(size: tuple[int, int]) -> tuple[Any, Any]:
    """Return MineRL's observation and action spaces with few items."""
    box, nested = gymnasium.spaces.Box, gymnasium.spaces.Dict
    items = sorted([*MILESTONES, "log2", "dirt", "air"])
    seen = nested(
        {
            "pov": box(0, 255, (*size, 3), np.uint8),
            "inventory": nested({item: box(0, 2304, (), np.int32) for item in items}),
            "equipped_items": nested({"mainhand": nested({"type": Names("other", *items)})}),
            "life_stats": nested({key: box(0, 300, (), np.float32) for key in ("life", "air")}),
        }
    )
    named = {key: Names("none", *items) for key in _NAMED}
    keys = {key: gymnasium.spaces.Discrete(2) for key in _KEYS}
    camera = {"camera": box(-180, 180, (2,), np.float32)}
    return seen, nested(keys | camera | named)


class Game:
    """The script behind MineRL's interface.

    Args:
        size: Height and width of the view.
        dies_after: Step with which the player dies, if ever.
        breaks_after: Step with which the connection does.
    """

    def __init__(
        self,
        size: tuple[int, int] = (32, 48),
        dies_after: int | None = None,
        breaks_after: int | None = None,
    ) -> None:
        if HAS_MINERL:
            from dreamer_jax.envs.suites.minerl_spec import MinecraftSpec

            spec = MinecraftSpec(size, 100.0)
            self.observation_space, self.action_space = spec.observation_space, spec.action_space
        else:
            self.observation_space, self.action_space = short_spaces(size)
        self.closed = 0
        self.actions: list[dict[str, Any]] = []
        self._size, self._dies, self._breaks = size, dies_after, breaks_after
        self._seed: int | None = None

    def seed(self, seed: int) -> None:
        assert isinstance(seed, int)
        self._seed = seed

    def reset(self) -> dict[str, Any]:
        assert self._seed is not None, "the world would be another one every time"
        self._rng, self._seed = np.random.default_rng(self._seed), None
        self.held = dict.fromkeys(self.observation_space["inventory"].spaces, 0)
        self.equipped, self.life, self.height, self._steps = "air", 20.0, 64.0, 0
        self.done = False
        return self._observation()

    def step(self, action: Mapping[str, Any]) -> tuple[Any, float, bool, dict[str, Any]]:
        assert not self.done, "a step after the end"
        assert set(action) == set(self.action_space.spaces)
        for key, value in action.items():
            assert self.action_space.spaces[key].contains(value), (key, value)
        self.actions.append(dict(action))
        self._steps += 1
        if self._steps == self._breaks:
            self.done = True
            return None, 0, True, {"error": "Connection timed out!"}
        self._act(action)
        self.done = self._steps == self._dies
        if self.done:
            self.life = 0.0
        return self._observation(), 0.0, self.done, {}

    def close(self) -> None:
        self.closed += 1

    def _act(self, action: Mapping[str, Any]) -> None:
        if action["attack"]:
            self.held[_YIELDS.get(self.equipped, "log" if self._steps % 2 else "log2")] += 1
        self.height += action["jump"]
        if self.held.get(action["equip"], 0):
            self.equipped = action["equip"]
        for key in ("craft", "nearbyCraft", "nearbySmelt"):
            made = action[key]
            if (recipe := _RECIPES.get((key, made))) and self.held[recipe[0]] >= recipe[1]:
                self.held[recipe[0]] -= recipe[1]
                self.held[made] += recipe[2]

    def _observation(self) -> dict[str, Any]:
        return {
            "pov": self._rng.integers(256, size=(*self._size, 3)).astype(np.uint8),
            "inventory": {item: np.array(count) for item, count in self.held.items()},
            "equipped_items": {"mainhand": {"type": self.equipped, "damage": np.array(0)}},
            "location_stats": {"ypos": np.array(self.height)},
            "life_stats": {
                "life": np.array(self.life),
                "food": np.array(15.0),
                "air": np.array(300.0),
            },
        }
