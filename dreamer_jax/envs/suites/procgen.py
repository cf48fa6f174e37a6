"""ProcGen's 16 games of generated levels: `procgen:<game>`.

The library draws everything from one seed at construction, and construction takes half a
millisecond; so each episode is a new game, built with the episode's seed. The library goes on to
the next level by itself after an end and shows only that one's first picture: the last record of
an episode repeats the picture before it. Nor does it tell a death from a level's time limit, so
every end counts as a true one, as in the published runs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

with warnings.catch_warnings():
    # It leaves a file open, and gym warns of itself.
    warnings.simplefilter("ignore")
    from procgen.env import DISTRIBUTION_MODE_DICT, ENV_NAMES, EXPLORATION_LEVEL_SEEDS
    from procgen.env import ProcgenGym3Env as Game

_SIZE = (64, 64)


def names() -> list[str]:
    """Return the games."""
    return list(ENV_NAMES)


def make(
    name: str, /, *, distribution: str = "hard", num_levels: int = 0, start_level: int = 0
) -> Procgen:
    """Build a game; the defaults are those of the published runs.

    Args:
        name: For example `coinrun`.
        distribution: Of levels: easy, hard, extreme, memory or exploration, not all in all games.
        num_levels: How many levels there are; 0 for no limit.
        start_level: Seed of the first of them.

    Raises:
        UserError: For an unknown game or distribution, or levels out of range.
    """
    if name not in ENV_NAMES:
        raise unknown_name("ProcGen game", name, ENV_NAMES)
    if distribution not in DISTRIBUTION_MODE_DICT:
        raise unknown_name("distribution of ProcGen levels", distribution, DISTRIBUTION_MODE_DICT)
    if num_levels < 0 or start_level < 0:
        raise UserError(
            f"num_levels={num_levels}, start_level={start_level}: neither can be negative"
        )
    levels = {"num_levels": num_levels, "start_level": start_level}
    if distribution == "exploration":
        if name not in EXPLORATION_LEVEL_SEEDS:
            games = ", ".join(EXPLORATION_LEVEL_SEEDS)
            raise UserError(f"procgen:{name} has no level for exploration; {games} have")
        if any(levels.values()):
            raise UserError(f"{levels} with distribution='exploration', which is one fixed level")
        levels = {}
    return Procgen(name, distribution, levels)


class Procgen:
    """One game. `make` documents and checks the arguments."""

    repeat = 1

    def __init__(self, name: str, distribution: str, levels: Mapping[str, int]) -> None:
        self._options = {
            "num": 1,
            "num_threads": 0,
            "env_name": name,
            "distribution_mode": distribution,
            "render_mode": "rgb_array",
            **levels,
        }
        self._game = Game(**self._options, rand_seed=0)
        self._image = np.zeros((*_SIZE, 3), np.uint8)
        self.spaces = Spaces(
            {"image": Space(np.dtype(np.uint8), (*_SIZE, 3))},
            {"action": Space(np.dtype(np.int32), (), int(self._game.ac_space.eltype.n))},
        )

    def reset(self, seed: int) -> Record:
        """Start the level that `seed` determines."""
        self._game.close()
        self._game = Game(**self._options, rand_seed=seed)
        _, observation, _ = self._game.observe()
        self._image = observation["rgb"][0].copy()
        return {"image": self._image.copy(), **signals(is_first=True)}

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        self._game.act(np.array([action["action"]]))
        reward, observation, first = self._game.observe()
        last = bool(first[0])
        if not last:
            self._image = observation["rgb"][0].copy()
        return {
            "image": self._image.copy(),
            **signals(float(reward[0]), is_last=last, is_terminal=last),
        }

    def render(self) -> np.ndarray:
        """Return the game's own picture for people `[512, 512, 3]`."""
        return np.array(self._game.get_info()[0]["rgb"])

    def snapshot(self) -> bytes:
        """Return the whole state of the open episode."""
        file = io.BytesIO()
        game = np.frombuffer(self._game.get_state()[0], np.uint8)
        np.savez_compressed(file, game=game, image=self._image)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            self._game.set_state([file["game"].tobytes()])
            self._image = file["image"]

    def close(self) -> None:
        """Close the game."""
        self._game.close()
