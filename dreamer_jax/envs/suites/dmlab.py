"""DeepMind Lab through its own package: `dmlab:LEVEL`, the thirty levels of DMLab-30.

Tested against a simulator with the package's interface, never against the game: the package has no
wheel and is built from its sources. An episode is a function of its seed. The package does not say
why an episode is over; as in the published runs it counts as a true end.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

LEVELS = (
    *(f"explore_goal_locations_{size}" for size in ("small", "large")),
    *(f"explore_object_locations_{size}" for size in ("small", "large")),
    *(f"explore_object_rewards_{number}" for number in ("few", "many")),
    *(f"explore_obstructed_goals_{size}" for size in ("small", "large")),
    "language_answer_quantitative_question",
    "language_execute_random_task",
    "language_select_described_object",
    "language_select_located_object",
    *(f"lasertag_one_opponent_{size}" for size in ("small", "large")),
    *(f"lasertag_three_opponents_{size}" for size in ("small", "large")),
    "natlab_fixed_large_map",
    "natlab_varying_map_randomized",
    "natlab_varying_map_regrowth",
    "psychlab_arbitrary_visuomotor_mapping",
    "psychlab_continuous_recognition",
    "psychlab_sequential_comparison",
    "psychlab_visual_search",
    "rooms_collect_good_objects_train",
    "rooms_exploit_deferred_effects_train",
    "rooms_keys_doors_puzzle",
    "rooms_select_nonmatching_object",
    "rooms_watermaze",
    "skymaze_irreversible_path_hard",
    "skymaze_irreversible_path_varied",
)

_TURN, _TILT = "LOOK_LEFT_RIGHT_PIXELS_PER_FRAME", "LOOK_DOWN_UP_PIXELS_PER_FRAME"
_MOVE, _STRAFE, _FIRE = "MOVE_BACK_FORWARD", "STRAFE_LEFT_RIGHT", "FIRE"
# The fifteen of PopArt and R2D2, which the published runs took; what is not named is 0.
ACTIONS: tuple[Mapping[str, int], ...] = (
    {_MOVE: 1},
    {_MOVE: -1},
    {_STRAFE: -1},
    {_STRAFE: 1},
    {_TURN: -10},
    {_TURN: 10},
    {_TURN: -60},
    {_TURN: 60},
    {_TILT: 10},
    {_TILT: -10},
    {_TURN: -10, _MOVE: 1},
    {_TURN: 10, _MOVE: 1},
    {_TURN: -60, _MOVE: 1},
    {_TURN: 60, _MOVE: 1},
    {_FIRE: 1},
)

_PIXELS, _WORDS = "RGB_INTERLEAVED", "INSTR"
_TOKEN = re.compile(r"[A-Za-z_]+|[^A-Za-z_\s]+")
_MOST_TOKENS, _TOKEN_WIDTH = 32, 32
_HOLD_OUT_SEED = 0x600D5EED  # of the published evaluations


def names() -> list[str]:
    """Return every level."""
    return sorted(LEVELS)


def make(
    name: str,
    /,
    *,
    size: tuple[int, int] = (64, 64),
    repeat: int = 4,
    hold_out: bool = False,
    renderer: str = "hardware",
) -> Env:
    """Load a level.

    Args:
        name: One of `names()`.
        size: Height and width of the pixels.
        repeat: Frames for which each action is held.
        hold_out: Play the levels that are kept for evaluation.
        renderer: `hardware` or `software`.

    Raises:
        UserError: For an unknown level or renderer, or where DeepMind Lab is not installed.
    """
    if name not in LEVELS:
        raise unknown_name("dmlab level", name, LEVELS)
    if renderer not in ("hardware", "software"):
        raise UserError(f"renderer is {renderer!r}; choose hardware or software")
    if repeat < 1:
        raise UserError(f"repeat is {repeat}; an action is applied at least once")
    try:
        import deepmind_lab
    except ModuleNotFoundError as error:
        raise UserError(
            "dmlab needs the package 'deepmind_lab', which has no wheel: build it with Bazel as "
            "its repository says"
        ) from error
    talks = name.startswith("language_")
    config = {"height": size[0], "width": size[1], "logLevel": "WARN"}
    if hold_out:
        name = name.replace("_train", "_test")
        config |= {"allowHoldOutLevels": "true", "mixerSeed": _HOLD_OUT_SEED}
    lab = deepmind_lab.Lab(
        level=f"contributed/dmlab30/{name}",
        observations=[_PIXELS, _WORDS] if talks else [_PIXELS],
        config={key: str(value) for key, value in config.items()},
        renderer=renderer,
    )
    return DmLab(lab, (size[0], size[1]), repeat, talks)


class DmLab:
    """One level. Observations: `image`, and `instruction` where the level speaks.

    Args:
        lab: A `deepmind_lab.Lab`.
        size: Height and width of its pixels.
        repeat: Frames for which each action is held.
        talks: Whether it was asked for instructions.
    """

    def __init__(self, lab: Any, size: tuple[int, int], repeat: int, talks: bool) -> None:
        self._lab, self.repeat, self._talks = lab, repeat, talks
        order = [part["name"] for part in lab.action_spec()]
        self._actions = [
            np.array([action.get(part, 0) for part in order], np.intc) for action in ACTIONS
        ]
        obs = {"image": Space(np.dtype(np.uint8), (*size, 3))}
        if talks:
            obs["instruction"] = Space(np.dtype(np.float32), (_MOST_TOKENS * _TOKEN_WIDTH,))
        self._seen: dict[str, np.ndarray] = {
            key: np.zeros(space.shape, space.dtype) for key, space in obs.items()
        }
        self.spaces = Spaces(obs, {"action": Space(np.dtype(np.int32), (), len(ACTIONS))})

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._lab.reset(seed=seed)
        self._look()
        return {**self._seen, **signals(is_first=True)}

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Hold one action for `repeat` frames."""
        reward = self._lab.step(self._actions[int(action["action"])], num_steps=self.repeat)
        over = not self._lab.is_running()
        if not over:  # afterwards there is nothing to see, and the last picture stays
            self._look()
        return {**self._seen, **signals(reward, is_last=over, is_terminal=over)}

    def render(self) -> np.ndarray | None:
        """Return the picture of the last record."""
        return self._seen["image"]

    def close(self) -> None:
        """Close the level; a second call does nothing."""
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.close()

    def _look(self) -> None:
        observed = self._lab.observations()
        self._seen = {"image": np.array(observed[_PIXELS], np.uint8)}
        if self._talks:
            self._seen["instruction"] = embedded(str(observed[_WORDS]))


def embedded(text: str) -> np.ndarray:
    """Return `[1024]`: 32 numbers for each of the first 32 words and marks, zeros after the end."""
    vectors = [_token_vector(token) for token in _TOKEN.findall(text.lower())[:_MOST_TOKENS]]
    result = np.zeros((_MOST_TOKENS, _TOKEN_WIDTH), np.float32)
    result[: len(vectors)] = vectors or 0
    return result.ravel()


@functools.lru_cache(maxsize=4096)
def _token_vector(token: str) -> np.ndarray:
    """Return random numbers that are the token's own, in every process and run."""
    rng = np.random.default_rng(zlib.crc32(token.encode()))
    return rng.standard_normal(_TOKEN_WIDTH).astype(np.float32)
