"""Environments that check whoever uses them: `testing:counting`, `flaky`, `mixed`, `chase`.

They cost microseconds and are functions of seed and actions, so that tests can prove alignment
in time (counting), survival (flaky), every kind of key (mixed) and learning (chase, and chase_image
from pixels) without a simulator.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.naming import check_options, unknown_name
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_FAULTS = ("raise", "exit", "die", "kill", "hang", "nan", "infinite")
_INT, _FLOAT, _BYTE = np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.uint8)


class Counting:
    """Tells in every record where in time it stands and what led to it.

    `index` is the step within the episode, `seed` the episode's seed as high and low 16 bits, both
    exact. The reward of record t is `t·actions + a[t−1]`, so it names its own index and the
    action before it.

    Args:
        length: Index of the last record.
        actions: Number of actions.
        ending: "terminal", "truncated", or "both" for terminal ends of odd seeds only.
    """

    repeat = 1

    def __init__(self, length: int = 5, actions: int = 3, ending: str = "both") -> None:
        if ending not in ("terminal", "truncated", "both"):
            raise UserError(f"ending is {ending!r}; choose terminal, truncated or both")
        self._length, self._actions, self._ending = length, actions, ending
        self._seed, self._index = 0, 0
        self.spaces = Spaces(
            {"index": Space(_INT, (), length + 1), "seed": Space(_FLOAT, (2,))},
            {"action": Space(_INT, (), actions)},
        )

    def reset(self, seed: int) -> Record:
        """Start the episode named `seed`."""
        self._seed, self._index = seed, 0
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Count one step."""
        if self._index >= self._length:
            raise RuntimeError("step after is_last; only reset may be called")
        self._index += 1
        last = self._index == self._length
        terminal = self._ending == "terminal" or (self._ending == "both" and self._seed % 2 == 1)
        reward = self._index * self._actions + int(action["action"])
        return self._record(signals(reward, is_last=last, is_terminal=last and terminal))

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def _record(self, record: dict[str, Any]) -> Record:
        record["index"] = np.int32(self._index)
        record["seed"] = np.array(divmod(self._seed, 1 << 16), np.float32)
        return record


class Flaky(Counting):
    """Counts, but fails at index 2 of every episode whose seed is a multiple of `every`.

    Args:
        fault: "raise" an error; "exit" by `sys.exit`; "die" of the signal SIGSEGV, "kill" of
            SIGKILL; "hang" for ever; "nan" in the observation and "infinite" reward make a record
            that must not be used.
        every: One episode in so many fails.
        length: Index of the last record.
    """

    def __init__(self, fault: str = "raise", every: int = 3, length: int = 5) -> None:
        super().__init__(length)
        if fault not in _FAULTS:
            raise UserError(f"fault is {fault!r}; choose one of {', '.join(_FAULTS)}")
        self._fault, self._every = fault, every

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Count one step, or fail."""
        record = super().step(action)
        if self._index != 2 or self._seed % self._every:
            return record
        if self._fault == "raise":
            raise ZeroDivisionError("the simulator broke")
        if self._fault == "exit":
            sys.exit("the simulator left")
        if self._fault == "hang":
            threading.Event().wait()
        if self._fault in ("die", "kill"):
            os.kill(os.getpid(), signal.SIGSEGV if self._fault == "die" else signal.SIGKILL)
        key = "seed" if self._fault == "nan" else "reward"
        record[key] = np.full_like(record[key], np.nan if key == "seed" else np.inf)
        return record


class Mixed:
    """Has every kind of observation and action key, and noise drawn from the episode's seed.

    The vector remembers the running sum of `move`, the integer the last `choice`, the bools the
    last `pair`; the reward is the sum of `move` before clipping noise is added to the image.

    Args:
        length: Index of the last record; episodes of odd seeds end terminally.
        size: Height and width of the picture.
    """

    repeat = 1

    def __init__(self, length: int = 11, size: int = 48) -> None:
        self._length, self._size = length, size
        self._seed, self._index = 0, 0
        self._rng = np.random.default_rng(0)
        self._sum = np.zeros(2, np.float32)
        self.spaces = Spaces(
            {
                "image": Space(_BYTE, (size, size, 3)),
                "vector": Space(_FLOAT, (5,)),
                "matrix": Space(_FLOAT, (2, 3)),
                "integer": Space(_INT, (), 7),
                "flags": Space(np.dtype(np.bool_), (2,), 2),
            },
            {
                "choice": Space(_INT, (), 7),
                "pair": Space(_INT, (2,), 3),
                "move": Space(_FLOAT, (2,)),
            },
        )

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._seed, self._index = seed, 0
        self._rng = np.random.default_rng(seed)
        self._sum = np.zeros(2, np.float32)
        return self._record(0, np.zeros(2, np.int32), signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action of all three keys."""
        self._index += 1
        move = np.clip(np.asarray(action["move"], np.float32), -1, 1)
        self._sum = self._sum + move
        last = self._index >= self._length
        flags = signals(float(move.sum()), is_last=last, is_terminal=last and self._seed % 2 == 1)
        return self._record(int(action["choice"]), np.asarray(action["pair"]), flags)

    def render(self) -> np.ndarray | None:
        """Return a picture whose brightness is the index."""
        return np.full((self._size, self._size, 3), 20 * self._index % 256, np.uint8)

    def close(self) -> None:
        """Do nothing."""

    def _record(self, choice: int, pair: np.ndarray, record: dict[str, Any]) -> Record:
        noise = self._rng.standard_normal(9).astype(np.float32)
        image = np.zeros((self._size, self._size, 3), np.uint8)
        image[:, : 1 + self._index % self._size, choice % 3] = 255
        image[0, 0] = self._rng.integers(256, size=3)
        return record | {
            "image": image,
            "vector": np.concatenate([self._sum, noise[:3]]),
            "matrix": noise[3:].reshape(2, 3),
            "integer": np.int32(choice),
            "flags": pair > 0,
        }


class Chase:
    """Reach the target on a line of cells: left is 0, right is 1.

    Reaching it pays 1 and moves it. Episodes are truncated. With the default sizes the shortest
    path earns 9.5 on average and random actions 2.7.

    Args:
        cells: Places on the line.
        length: Index of the last record.
        image: Whether records have a picture `[48, 48, 1]` instead of the two positions.
    """

    repeat = 1

    def __init__(self, cells: int = 4, length: int = 16, image: bool = False) -> None:
        if not 2 <= cells <= 48:
            raise UserError(f"cells is {cells}; the line has 2 to 48 cells")
        self._cells, self._length, self._image = cells, length, image
        self._position, self._target, self._index = 0, 1, 0
        self._rng = np.random.default_rng(0)
        obs = {"position": Space(_INT, (), cells), "target": Space(_INT, (), cells)}
        if image:
            obs = {"image": Space(_BYTE, (48, 48, 1))}
        self.spaces = Spaces(obs, {"action": Space(_INT, (), 2)})

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._rng = np.random.default_rng(seed)
        self._index = 0
        self._position = int(self._rng.integers(self._cells))
        self._place_target()
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Move one cell; walls hold."""
        self._index += 1
        move = 1 if action["action"] else -1
        self._position = min(max(self._position + move, 0), self._cells - 1)
        reached = self._position == self._target
        if reached:
            self._place_target()
        return self._record(signals(float(reached), is_last=self._index >= self._length))

    def render(self) -> np.ndarray | None:
        """Return the picture `[48, 48, 3]`."""
        return np.repeat(self._picture(), 3, axis=2)

    def close(self) -> None:
        """Do nothing."""

    def _place_target(self) -> None:
        # Uniform over the other cells: the agent never stands on the target.
        self._target = (self._position + 1 + int(self._rng.integers(self._cells - 1))) % self._cells

    def _picture(self) -> np.ndarray:
        picture = np.zeros((48, 48, 1), np.uint8)
        width = 48 // self._cells
        picture[:24, self._position * width : (self._position + 1) * width] = 255
        picture[24:, self._target * width : (self._target + 1) * width] = 128
        return picture

    def _record(self, record: dict[str, Any]) -> Record:
        if self._image:
            record["image"] = self._picture()
        else:
            record["position"] = np.int32(self._position)
            record["target"] = np.int32(self._target)
        return record


def _chase_image(cells: int = 4, length: int = 16) -> Chase:
    return Chase(cells, length, image=True)


_TASKS: dict[str, Callable[..., Env]] = {
    "counting": Counting,
    "flaky": Flaky,
    "mixed": Mixed,
    "chase": Chase,
    "chase_image": _chase_image,
}


def names() -> list[str]:
    """Return every name."""
    return sorted(_TASKS)


def make(name: str, /, **options: Any) -> Env:
    """Build one of the environments; the options are its constructor's.

    Raises:
        UserError: For an unknown name or option.
    """
    if name not in _TASKS:
        raise unknown_name("testing environment", name, _TASKS)
    check_options(f"testing:{name}", _TASKS[name], options)
    return _TASKS[name](**options)
