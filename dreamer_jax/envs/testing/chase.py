"""`testing:chase` and `testing:chase_image`: walk along a line of cells, by one of several rules.

All rules share one dynamics and cannot be seen in the records, so that whatever is to follow
several of them must be told which one holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_INT, _BYTE = np.dtype(np.int32), np.dtype(np.uint8)
PIXELS = 48
AGENT, TARGET = 255, 128  # brightness
TEXEL = 4  # pixels of a spot of the background
DARK = 97  # the background stays below, so that both objects stand out
RULES = ("reach", "left", "right", "flee")
BACKGROUNDS = ("clean", "noise")


class Chase:
    """Left is 0, right is 1, walls hold. Reaching the target moves it, whatever is paid for.

    With the default sizes and rule the shortest path earns 9.5 on average and random actions 2.7.
    Episodes are truncated.

    Args:
        cells: Places on the line.
        length: Index of the last record.
        image: Whether records have a picture `[48, 48, 1]` instead of the two positions: the agent
            in the upper half, the target in the lower.
        rule: What pays 1: to "reach" the target; to be in the "left"- or "right"-most cell after a
            step; or to "flee", being two cells or more from the target after a step, where a target
            that was just reached counts as near.
        reward_scale: Factor of all rewards.
        object_size: Height and width of agent and target in pixels; 0 fills half their cell's
            column.
        background: "clean" is black; "noise" a texture of spots, drawn for each episode, that
            moves by a random walk. It changes neither the dynamics nor the draws of the targets.
    """

    repeat = 1

    def __init__(
        self,
        cells: int = 4,
        length: int = 16,
        image: bool = False,
        rule: str = "reach",
        reward_scale: float = 1.0,
        object_size: int = 0,
        background: str = "clean",
    ) -> None:
        if not 2 <= cells <= PIXELS:
            raise UserError(f"cells is {cells}; the line has 2 to {PIXELS} cells")
        room = min(PIXELS // cells, PIXELS // 2)
        check_shared(rule, image, object_size, room, background)
        self._cells, self._length, self._image = cells, length, image
        self._rule, self._scale = rule, reward_scale
        self._object_size, self._noisy = object_size, background == "noise"
        self._position, self._target, self._index = 0, 1, 0
        self._rng = np.random.default_rng(0)
        self._texture = np.zeros((PIXELS, PIXELS), np.uint8)
        self._path = np.zeros((length + 1, 2), np.int64)  # of the texture, in pixels
        obs = {"position": Space(_INT, (), cells), "target": Space(_INT, (), cells)}
        if image:
            obs = {"image": Space(_BYTE, (PIXELS, PIXELS, 1))}
        self.spaces = Spaces(obs, {"action": Space(_INT, (), 2)})

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._rng = np.random.default_rng(seed)
        self._index = 0
        self._position = int(self._rng.integers(self._cells))
        self._place_target()
        if self._noisy:
            # A generator of its own: the same seed plays the same game on every background.
            self._draw_background(np.random.default_rng([seed, 1]))
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Move one cell."""
        self._index += 1
        move = 1 if action["action"] else -1
        self._position = min(max(self._position + move, 0), self._cells - 1)
        paid = self._pays()
        if self._position == self._target:
            self._place_target()
        last = self._index >= self._length
        return self._record(signals(self._scale * paid, is_last=last))

    def render(self) -> np.ndarray | None:
        """Return the picture `[48, 48, 3]`."""
        return np.repeat(self._picture(), 3, axis=2)

    def close(self) -> None:
        """Do nothing."""

    def _pays(self) -> bool:
        if self._rule == "left":
            return self._position == 0
        if self._rule == "right":
            return self._position == self._cells - 1
        distance = abs(self._position - self._target)
        return distance == 0 if self._rule == "reach" else distance >= 2

    def _place_target(self) -> None:
        # Uniform over the other cells: the agent never stands on the target.
        self._target = (self._position + 1 + int(self._rng.integers(self._cells - 1))) % self._cells

    def _draw_background(self, rng: np.random.Generator) -> None:
        spots = rng.integers(DARK, size=(PIXELS // TEXEL, PIXELS // TEXEL), dtype=np.uint8)
        self._texture = spots.repeat(TEXEL, 0).repeat(TEXEL, 1)
        self._path = rng.integers(-2, 3, size=(self._length + 1, 2)).cumsum(0)

    def _picture(self) -> np.ndarray:
        down, right = self._path[min(self._index, self._length)]
        picture = np.roll(self._texture, (down, right), (0, 1))
        picture[self._place(0, self._position)] = AGENT
        picture[self._place(PIXELS // 2, self._target)] = TARGET
        return picture[:, :, None]

    def _place(self, top: int, cell: int) -> tuple[slice, slice]:
        """Return rows and columns of an object, whose half of the picture begins at row `top`."""
        width = PIXELS // self._cells
        if not self._object_size:
            return slice(top, top + PIXELS // 2), slice(cell * width, (cell + 1) * width)
        row = top + (PIXELS // 2 - self._object_size) // 2
        column = cell * width + (width - self._object_size) // 2
        return slice(row, row + self._object_size), slice(column, column + self._object_size)

    def _record(self, record: dict[str, Any]) -> Record:
        if self._image:
            record["image"] = self._picture()
        else:
            record["position"] = np.int32(self._position)
            record["target"] = np.int32(self._target)
        return record


def check_shared(rule: str, image: bool, object_size: int, room: int, background: str) -> None:
    """Check the options that `Chase` here and the one in JAX have in common.

    Args:
        rule: What pays.
        image: Whether there is a picture.
        object_size: Pixels.
        room: Pixels that an object has.
        background: What lies behind the objects.

    Raises:
        UserError: Names the option, its value and what it may be.
    """
    if rule not in RULES:
        raise UserError(f"rule is {rule!r}; choose one of {', '.join(RULES)}")
    if background not in BACKGROUNDS:
        raise UserError(f"background is {background!r}; choose one of {', '.join(BACKGROUNDS)}")
    if not 0 <= object_size <= room:
        raise UserError(f"object_size is {object_size}; a cell has room for {room} pixels")
    if not image and (object_size or background != "clean"):
        raise UserError(
            f"object_size={object_size}, background={background}: only chase_image has a picture"
        )


def chase_image(
    cells: int = 4,
    length: int = 16,
    rule: str = "reach",
    reward_scale: float = 1.0,
    object_size: int = 0,
    background: str = "clean",
) -> Chase:
    """Build a `Chase` with pictures."""
    return Chase(cells, length, True, rule, reward_scale, object_size, background)
