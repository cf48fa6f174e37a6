"""Environments under random actions: bare, behind the vector environment, and behind the driver.

The driver's row is all that acting costs but the policy: records checked, counted and in replay.
Beside it, in turn, runs what users of the suite itself would take (`yardsticks.py`).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from dreamer_jax.config import load_config
from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.replay import Replay, record_columns
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.types import Space, Spaces
from experiments.benchmark.workload import WARMUP
from experiments.benchmark.yardsticks import ACTIONS, Step, yardsticks

# Of size 1m.
LATENTS = {
    "deter": Space(np.dtype(np.float32), (512,)),
    "stoch": Space(np.dtype(np.uint8), (32,)),
}
_TURNS = 25
_KEPT = 500  # records of each environment: more than caches hold of pictures


def bench_envs(args: argparse.Namespace) -> dict[str, Any]:
    """Step `--batch` environments of the preset's task for `--steps` vector steps, each way."""
    config = load_config(args.config)
    task, options = args.task or config.task, config.env.to_dict()
    make = partial(make_env, task, **options)
    with ExitStack() as stack:
        references = stack.enter_context(yardsticks(task, options, args.batch))
        envs, driven = (
            stack.enter_context(VectorEnv(make, args.batch, seed=0, workers=args.workers))
            for _ in range(2)
        )
        bare = [make() for _ in range(args.batch)]
        for env in bare:
            stack.callback(env.close)
        actions = _actions(envs.spaces, args.batch)
        envs.reset()
        ways: dict[str, Step] = {
            **references,
            "bare": _bare(bare, actions),
            "vector": lambda: envs.step(next(actions)),
            "driver": partial(_driver(driven, actions).step, None),
        }
        seconds = in_turn(ways, args.steps)
        place = driven.mode_reason
    result: dict[str, Any] = {"task": task, "where": place}
    result |= {f"{name}_us": 1e6 * spent / args.batch for name, spent in seconds.items()}
    result["overhead_us"] = result["driver_us"] - result["bare_us"]
    result["steps_per_s"] = args.batch / seconds["driver"]
    if references:
        fastest = min(seconds[name] for name in references)
        result["share_of_yardstick"] = fastest / seconds["driver"]
    return result


def in_turn(ways: Mapping[str, Step], steps: int) -> dict[str, float]:
    """Return the seconds of a step of each way: the median of a few turns.

    The speed of a shared machine drifts, so one turn of each follows one of the others.
    """
    length = -(-steps // _TURNS)
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_TURNS):
        for name, step in ways.items():
            for _ in range(WARMUP):
                step()
            start = time.perf_counter()
            for _ in range(length):
                step()
            turns[name].append((time.perf_counter() - start) / length)
    return {name: float(np.median(spent)) for name, spent in turns.items()}


def _actions(spaces: Spaces, number: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return itertools.cycle([random_actions(spaces.action, rng, number) for _ in range(ACTIONS)])


def _bare(envs: list[Env], actions: Iterator[dict[str, np.ndarray]]) -> Step:
    """Return the environments' own calls in one loop, resets included."""
    ended, seeds = [True] * len(envs), itertools.count()

    def step() -> None:
        vector = next(actions)
        for index, env in enumerate(envs):
            action = {key: value[index] for key, value in vector.items()}
            record = env.reset(next(seeds)) if ended[index] else env.step(action)
            ended[index] = bool(record["is_last"])

    return step


class _RandomPolicy:
    """Stands in for a compiled agent and answers at once."""

    def __init__(self, number: int, actions: Iterator[dict[str, np.ndarray]]) -> None:
        self._latents = {k: np.zeros((number, *s.shape), s.dtype) for k, s in LATENTS.items()}
        self._actions = actions

    def initial_acting_carry(self, _: int) -> None:
        """Return the empty carry of a policy that remembers nothing."""

    def policy(self, *_: Any, **__: Any) -> tuple[None, dict[str, np.ndarray], Any]:
        """Return carry, actions and latents."""
        return None, next(self._actions), self._latents


def _driver(envs: VectorEnv, actions: Iterator[dict[str, np.ndarray]]) -> Driver:
    """Return a driver without a policy that overwrites the oldest records of a full replay.

    A long run meets fresh pages of memory once and old ones ever after.
    """
    columns = record_columns(envs.spaces)
    replay = Replay(
        columns,
        LATENTS,
        capacity=_KEPT * envs.number,
        streams=envs.number,
        batch_size=1,
        length=16,
    )
    record = {key: np.zeros((envs.number, *s.shape), s.dtype) for key, s in columns.items()}
    latents = {k: np.zeros((envs.number, *s.shape), s.dtype) for k, s in LATENTS.items()}
    for _ in range(_KEPT):
        replay.add(record, latents)
    policy: Any = _RandomPolicy(envs.number, actions)
    return Driver(envs, policy, replay.add)
