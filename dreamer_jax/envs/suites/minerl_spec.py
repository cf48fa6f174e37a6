"""The world of the Minecraft tasks as MineRL 0.4.4 wants it described. Imports MineRL.

A world of its own for every episode, in survival mode, with time passing and creatures spawning;
the player starts with nothing. Breaking blocks is `break_speed` times as fast as in the game,
because an agent that explores at random never holds a button for seconds.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

# MineRL 0.4.4 uses these names, which NumPy has given up, when it builds spaces and observations.
for _name in ("float", "int", "bool", "object"):
    if _name not in vars(np):
        setattr(np, _name, getattr(builtins, _name))

from minerl.herobraine.env_spec import EnvSpec  # noqa: E402
from minerl.herobraine.hero import handlers  # noqa: E402
from minerl.herobraine.hero.handlers.agent.start import (  # noqa: E402
    AgentStartBreakSpeedMultiplier,
)
from minerl.herobraine.hero.mc import ALL_ITEMS, INVERSE_KEYMAP  # noqa: E402

_KEYS = ("forward", "back", "left", "right", "jump", "sneak", "attack")


class MinecraftSpec(EnvSpec):
    """What MineRL builds the game's mission, its spaces and its messages from.

    Args:
        size: Height and width of the player's view.
        break_speed: Multiplier of the speed at which blocks break.
    """

    def __init__(self, size: tuple[int, int], break_speed: float) -> None:
        self._size, self._break_speed = size, break_speed
        super().__init__("DreamerMinecraft-v0")

    def create_observables(self) -> list[Any]:
        """Return the view, the inventory, what is in hand, position and health."""
        height, width = self._size
        return [
            handlers.POVObservation((width, height)),
            handlers.FlatInventoryObservation(ALL_ITEMS),
            handlers.EquippedItemObservation(ALL_ITEMS, _default="air", _other="other"),
            handlers.ObservationFromCurrentLocation(),
            handlers.ObservationFromLifeStats(),
        ]

    def create_actionables(self) -> list[Any]:
        """Return keys, camera, and the five actions that take the name of an item."""
        items = ["none", *ALL_ITEMS]
        named = (
            handlers.PlaceBlock,
            handlers.EquipAction,
            handlers.CraftAction,
            handlers.CraftNearbyAction,
            handlers.SmeltItemNearby,
        )
        return [
            *(handlers.KeybasedCommandAction(key, INVERSE_KEYMAP[key]) for key in _KEYS),
            handlers.CameraAction(),
            *(action(items, _other="none", _default="none") for action in named),
        ]

    def create_agent_start(self) -> list[Any]:
        """Return how the player starts."""
        return [AgentStartBreakSpeedMultiplier(self._break_speed)]

    def create_server_world_generators(self) -> list[Any]:
        """Return the game's own generator, asked for a new world every episode."""
        return [handlers.DefaultWorldGenerator(force_reset=True)]

    def create_server_initial_conditions(self) -> list[Any]:
        """Return time and creatures as in the game."""
        return [
            handlers.TimeInitialCondition(allow_passage_of_time=True, start_time=0),
            handlers.SpawningInitialCondition(allow_spawning=True),
        ]

    def create_server_quit_producers(self) -> list[Any]:
        """Return that the player's death ends the mission."""
        return [handlers.ServerQuitWhenAnyAgentFinishes()]

    def create_rewardables(self) -> list[Any]:
        """Return nothing: rewards are reckoned from observations."""
        return []

    def create_agent_handlers(self) -> list[Any]:
        """Return nothing."""
        return []

    def create_monitors(self) -> list[Any]:
        """Return nothing."""
        return []

    def create_server_decorators(self) -> list[Any]:
        """Return nothing."""
        return []

    def is_from_folder(self, folder: str) -> bool:  # noqa: ARG002
        """Return that MineRL's recordings of people are of other missions."""
        return False

    def determine_success_from_rewards(self, rewards: list[float]) -> bool:  # noqa: ARG002
        """Return nothing of interest; MineRL asks it of recordings only."""
        return False

    def get_docstring(self) -> str:
        """Return the mission in words."""
        return str(__doc__)
