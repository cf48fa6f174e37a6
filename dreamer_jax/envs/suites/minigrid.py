"""MiniGrid and BabyAI: `minigrid:<id>`, for example `minigrid:MiniGrid-DoorKey-6x6-v0`.

The grid is seen as symbols (one class per cell for each of object, colour and state, which is what
the codes mean) or as pixels; from where the agent stands or whole. The mission is a text: it is
observed as one class per word where it differs between episodes, and left out where it is always
the same and so says nothing.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.envs.babyai.core.roomgrid_level import BabyAIMissionSpace

from dreamer_jax.envs.adapters.gymnasium_env import GymnasiumEnv
from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError

_VIEWS = ("symbols", "pixels")
_MISSIONS = ("words", "drop")
_FAMILIES = ("MiniGrid-", "BabyAI-")
_UNUSABLE = "MiniGrid-WFC-"  # the package leaves out the pattern files that these read
_DIRECTIONS = 4
# The agent's own cell in a whole grid has its direction as the state.
_CLASSES = {
    "object": len(OBJECT_TO_IDX),
    "color": len(COLOR_TO_IDX),
    "state": max(len(STATE_TO_IDX), _DIRECTIONS),
}
_SMALLEST_TILE = 3  # pixels a side; below, a key looks like a door
_IMAGE_STEP = 16  # image sizes that the encoder halves evenly
_LONGEST_SENTENCE = 64  # BabyAI's grammar: two pairs of clauses, and what joins them
_BLANK = ""
_WORDS = (
    *(_BLANK, ",", "a", "after", "agent", "and", "at", "avoid", "ball", "behind", "blue", "box"),
    *("door", "empty", "end", "fetch", "find", "floor", "from", "front", "get", "go", "goal"),
    *("green", "grey", "hallway", "in", "key", "lava", "left", "matching", "maze", "must", "near"),
    *("next", "object", "of", "on", "open", "opening", "pick", "purple", "put", "reach", "red"),
    *("right", "room", "rooms", "square", "the", "then", "to", "traverse", "unlock", "unseen"),
    *("up", "use", "wall", "yellow", "you", "your"),
)
_WORD_CLASSES = {word: index for index, word in enumerate(_WORDS)}


def names() -> list[str]:
    """Return every id that can be built."""
    ids = (i for i in gymnasium.registry if i.startswith(_FAMILIES))
    return [i for i in ids if not i.startswith(_UNUSABLE)]


def make(
    name: str,
    /,
    *,
    view: str = "symbols",
    whole: bool = False,
    size: tuple[int, int] = (64, 64),
    mission: str = "words",
) -> Env:
    """Build a grid world.

    Args:
        name: Its id.
        view: "symbols" for keys `object`, `color` and `state`, "pixels" for `image`; `direction`
            comes with both.
        whole: Whether the whole grid is seen instead of the cells in front of the agent.
        size: Height and width of the image; cells are as large as fit and centred on black.
        mission: "words" or "drop"; a text that never changes is always dropped.

    Raises:
        UserError: For an unknown id or option, or an image too small for its cells.
    """
    if name not in names():
        if name.startswith(_UNUSABLE):
            raise UserError(f"minigrid:{name} reads patterns that the package does not ship")
        raise unknown_name("minigrid id", name, names())
    if view not in _VIEWS or mission not in _MISSIONS:
        raise UserError(
            f"view={view!r}, mission={mission!r}: view is one of {', '.join(_VIEWS)} and "
            f"mission one of {', '.join(_MISSIONS)}"
        )
    env = gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
    grid = Grid(env, (size[0], size[1]) if view == "pixels" else None, whole, mission == "words")
    return wrap(GymnasiumEnv(grid), size=size if view == "pixels" else None, fit="pad")


class Grid(gymnasium.ObservationWrapper):
    """A grid world with observations in numbers. `make` documents the arguments."""

    def __init__(
        self, env: gymnasium.Env, size: tuple[int, int] | None, whole: bool, words: bool
    ) -> None:
        super().__init__(env)
        self._world = cast(Any, env.unwrapped)
        self._whole = whole
        seen = self._world.agent_view_size
        columns, rows = (self._world.width, self._world.height) if whole else (seen, seen)
        self._tile = 0 if size is None else _tile(size, rows, columns)
        self._places = _longest(self._world.observation_space["mission"]) if words else 0
        keys: dict[str, spaces.Space] = {"direction": spaces.Discrete(_DIRECTIONS)}
        if size is not None:
            shape = (rows * self._tile, columns * self._tile, 3)
            keys["image"] = spaces.Box(0, 255, shape, np.uint8)
        else:
            for key, classes in _CLASSES.items():
                keys[key] = spaces.MultiDiscrete(np.full((columns, rows), classes))
        if self._places:
            keys["mission"] = spaces.MultiDiscrete(np.full(self._places, len(_WORDS)))
        self.observation_space = spaces.Dict(keys)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode, without the lines BabyAI prints about layouts it gave up."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().reset(**kwargs)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Return what is seen and, if it matters, read."""
        seen: dict[str, Any] = {"direction": observation["direction"]}
        if self._tile:
            seen["image"] = self._world.get_frame(
                highlight=self._world.highlight, tile_size=self._tile, agent_pov=not self._whole
            )
        else:
            codes = self._codes() if self._whole else observation["image"]
            seen |= {key: codes[..., i] for i, key in enumerate(_CLASSES)}
        if self._places:
            seen["mission"] = _read(observation["mission"], self._places)
        return seen

    def _codes(self) -> np.ndarray:
        """Return the codes of the whole grid `[columns, rows, 3]`, the agent among them."""
        codes = self._world.grid.encode()
        agent = (OBJECT_TO_IDX["agent"], COLOR_TO_IDX["red"], self._world.agent_dir)
        codes[tuple(self._world.agent_pos)] = agent
        return codes


def _tile(size: tuple[int, int], rows: int, columns: int) -> int:
    """Return the side of the largest cells that fit, in pixels."""
    tile = min(size[0] // rows, size[1] // columns)
    if tile < _SMALLEST_TILE:
        least = [
            -(-cells * _SMALLEST_TILE // _IMAGE_STEP) * _IMAGE_STEP for cells in (rows, columns)
        ]
        raise UserError(
            f"{rows}×{columns} cells in {size[0]}×{size[1]} pixels cannot be told apart; "
            f"use size=({least[0]}, {least[1]}) or more"
        )
    return tile


def _longest(space: Any) -> int:
    """Return how many words the longest mission has, 0 if there is only one mission."""
    if isinstance(space, BabyAIMissionSpace):
        return _LONGEST_SENTENCE
    if space.ordered_placeholders is None:
        return 0
    texts = (space.mission_func(*words) for words in itertools.product(*space.ordered_placeholders))
    return max(len(_words(text)) for text in texts)


def _words(text: str) -> list[str]:
    return text.lower().replace(",", " , ").split()


def _read(text: str, places: int) -> np.ndarray:
    """Return the class of each word, blanks after the last."""
    words = _words(text)
    unknown = [word for word in words if word not in _WORD_CLASSES]
    if unknown or len(words) > places:
        raise ValueError(f"mission {text!r}: unknown words {unknown}, or more than {places} words")
    blanks = [_BLANK] * (places - len(words))
    return np.array([_WORD_CLASSES[word] for word in [*words, *blanks]])
