"""Whether an environment keeps the contract in `spec.py`, said in words.

It plays random episodes twice, in two instances with the same seeds and actions, so that what
depends on anything but the seed shows as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dreamer_jax.envs.actions import random_actions
from dreamer_jax.envs.spec import Env
from dreamer_jax.types import FLAGS, SIGNALS, Record, Space

_SEED = 2_147_483_629  # near the largest, where 32-bit arithmetic would show


def check_env(
    make: Callable[[], Env],
    episodes: int = 2,
    max_steps: int = 1000,
    inner_terminals: bool = False,
) -> list[str]:
    """Play an environment and return what it does wrong, each problem once; empty if nothing.

    Args:
        make: Builds an environment; called twice.
        episodes: How many to play.
        max_steps: Steps after which an episode is left unfinished.
        inner_terminals: Whether `is_terminal` may come without `is_last`, as lost lives do.
    """
    problems: dict[str, None] = {}
    first, second = make(), make()
    try:
        if first.spaces != second.spaces:
            return ["two instances have different spaces"]
        if first.repeat < 1:
            problems[f"repeat is {first.repeat}; it is at least 1"] = None
        rng = np.random.default_rng(_SEED)
        for episode in range(episodes):
            # Another history than the first one's shows what an episode carries over.
            second.reset(episode)
            for problem in _play(first, second, _SEED - episode, rng, max_steps, inner_terminals):
                problems[problem] = None
    finally:
        first.close()
        second.close()
    return list(problems)


def _play(
    first: Env, second: Env, seed: int, rng: np.random.Generator, max_steps: int, inner: bool
) -> Iterator[str]:
    """Play one episode in both, yielding problems."""
    record, twin = first.reset(seed), second.reset(seed)
    yield from _reset_problems(record)
    for step in range(max_steps + 1):
        yield from _value_problems(record, first.spaces.obs)
        yield from _difference(record, twin)
        if record.get("is_terminal", False) and not (inner or record.get("is_last", False)):
            yield "is_terminal is set without is_last"
        if step > 0 and record.get("is_first", False):
            yield "is_first is set on a step"
        if record.get("is_last", False) or twin.get("is_last", False) or step == max_steps:
            return
        actions = random_actions(first.spaces.action, rng, 1)
        action = {key: value[0] for key, value in actions.items()}
        record, twin = first.step(action), second.step(action)


def _reset_problems(record: Record) -> Iterator[str]:
    if not record.get("is_first", True):
        yield "is_first is not set on the reset record"
    for key in ("is_last", "is_terminal"):
        if record.get(key, False):
            yield f"{key} is set on the reset record"
    if record.get("reward", 0) != 0:
        yield f"the reset record has reward {record['reward']}, not 0"


def _value_problems(record: Record, spaces: dict[str, Space]) -> Iterator[str]:
    expected = dict(spaces)
    expected["reward"] = Space(np.dtype(np.float32), ())
    expected |= {key: Space(np.dtype(np.bool_), (), 2) for key in FLAGS}
    for key in sorted(expected.keys() - record.keys()):
        yield f"{key!r} is missing from a record"
    for key in sorted(record.keys() - expected.keys()):
        if not key.startswith("log/"):
            yield f"a record has {key!r}, which the spaces do not name"
        elif np.shape(record[key]) != ():
            yield f"{key!r} has shape {np.shape(record[key])}; log values are scalars"
    for key in sorted(expected.keys() & record.keys()):
        yield from _key_problems(key, record[key], expected[key])


def _key_problems(key: str, value: np.ndarray, space: Space) -> Iterator[str]:
    if not isinstance(value, np.ndarray | np.generic):
        yield f"{key!r} is a {type(value).__name__}, not a NumPy value"
        return
    if value.dtype != space.dtype:
        yield f"{key!r} is {value.dtype}; its space says {space.dtype}"
    if value.shape != space.shape:
        yield f"{key!r} has shape {value.shape}; its space says {space.shape}"
    if np.issubdtype(value.dtype, np.floating):
        # −inf marks a missing observation (SPEC 1); a reward is never missing.
        wrong = ~np.isfinite(value) & (~np.isneginf(value) | (key in SIGNALS))
        if np.any(wrong):
            yield f"{key!r} holds values that are not finite"
    elif space.classes is not None and value.size:
        lowest = -1 if np.issubdtype(value.dtype, np.signedinteger) else 0
        if value.min() < lowest or value.max() >= space.classes:
            yield (
                f"{key!r} holds {value.min()} … {value.max()}; it has classes "
                f"0 … {space.classes - 1}"
            )


def _difference(record: Record, twin: Record) -> Iterator[str]:
    for key in sorted(record.keys() & twin.keys()):
        # Log values may be times and memory.
        if key.startswith("log/"):
            continue
        if np.asarray(record[key]).tobytes() != np.asarray(twin[key]).tobytes():
            yield f"{key!r} differs between two instances with the same seed and actions"
