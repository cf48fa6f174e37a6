"""What an agent may do in Minecraft and what it is rewarded for: tasks diamond, wood, climb.

Actions are flat: one of 12 (moving, looking, breaking, placing dirt), and for diamonds 13 more that
craft, place, equip or smelt one named thing of its tech tree. The twelve things on the way to a
diamond pay 1 each, the first time in an episode that the player holds one. Every task adds a
hundredth of the change of health, where 1 is full.

Source: the author's maintained code; in the paper's text a lost heart costs 0.01, which would be
ten times as much (a player has ten hearts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Keys of MineRL's action dict that differ from doing nothing.
Command = Mapping[str, Any]

MILESTONES = (
    "log",
    "planks",
    "stick",
    "crafting_table",
    "wooden_pickaxe",
    "cobblestone",
    "stone_pickaxe",
    "iron_ore",
    "furnace",
    "iron_ingot",
    "iron_pickaxe",
    "diamond",
)

_TURN = 15  # degrees
_HEALTH_SCALE = 0.01

_BASIC: dict[str, Command] = {
    "noop": {},
    "attack": {"attack": 1},
    "turn_up": {"camera": (-_TURN, 0)},
    "turn_down": {"camera": (_TURN, 0)},
    "turn_left": {"camera": (0, -_TURN)},
    "turn_right": {"camera": (0, _TURN)},
    "forward": {"forward": 1},
    "back": {"back": 1},
    "left": {"left": 1},
    "right": {"right": 1},
    "jump": {"jump": 1, "forward": 1},
    "place_dirt": {"place": "dirt"},
}
_TECHNOLOGY: dict[str, Command] = {
    **{f"craft_{item}": {"craft": item} for item in ("planks", "stick", "crafting_table")},
    **{f"place_{item}": {"place": item} for item in ("crafting_table", "furnace")},
    **{f"craft_{item}": {"nearbyCraft": item} for item in MILESTONES if item.endswith("_pickaxe")},
    **{f"equip_{item}": {"equip": item} for item in MILESTONES if item.endswith("_pickaxe")},
    "craft_furnace": {"nearbyCraft": "furnace"},
    "smelt_iron_ingot": {"nearbySmelt": "iron_ingot"},
}


class Player(NamedTuple):
    """What rewards look at, after one step."""

    held: Mapping[str, int]  # of each milestone, now
    most: Mapping[str, int]  # of each milestone, at any time of the episode so far
    life: float  # from 0 to 1
    height: float  # blocks


class Task(NamedTuple):
    """Actions by name, in the order of their classes, and the reward of a step besides health."""

    actions: Mapping[str, Command]
    reward: Callable[[Player, Player], float]  # before and after the step


def reward(task: Task, before: Player, after: Player) -> float:
    """Return the reward of a step."""
    return task.reward(before, after) + _HEALTH_SCALE * (after.life - before.life)


def _new_milestones(before: Player, after: Player) -> float:
    return sum(after.held[item] > 0 and before.most[item] == 0 for item in MILESTONES)


def _new_logs(before: Player, after: Player) -> float:
    return max(0, after.held["log"] - before.held["log"])


def _climbed(before: Player, after: Player) -> float:
    return after.height - before.height


TASKS = {
    "diamond": Task({**_BASIC, **_TECHNOLOGY}, _new_milestones),
    "wood": Task(_BASIC, _new_logs),
    "climb": Task(_BASIC, _climbed),
}
