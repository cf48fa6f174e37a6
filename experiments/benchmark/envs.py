"""Environments under random actions: bare, behind the vector environment, and behind the driver.

The driver's row is all that acting costs but the policy: records checked, counted and in replay.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np

from dreamer_jax.config import load_config
from dreamer_jax.envs.actions import random_actions
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.vector import VectorEnv
from dreamer_jax.replay import Replay
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.experience import replay_columns
from dreamer_jax.types import Space
from experiments.benchmark.workload import WARMUP

LATENT = (Space(np.dtype(np.float32), (512,)), Space(np.dtype(np.uint8), (32,)))  # of size 1m


def bench_envs(args: argparse.Namespace) -> dict[str, Any]:
    """Step `--batch` environments of the preset's task for `--steps` vector steps."""
    config = load_config(args.config)
    task = args.task or config.task
    make = partial(make_env, task, **config.env.to_dict())
    bare = [make() for _ in range(args.batch)]
    try:
        alone = _bare_seconds(bare, args.steps)
    finally:
        for env in bare:
            env.close()
    with VectorEnv(make, args.batch, seed=0, workers=args.workers) as envs:
        together = vector_seconds(envs, args.steps)
        driven = _driver_seconds(envs, args.steps)
        mode = envs.mode
    calls = args.steps * args.batch
    return {
        "task": task,
        "mode": mode,
        "bare_us": 1e6 * alone / calls,
        "vector_us": 1e6 * together / calls,
        "driver_us": 1e6 * driven / calls,
        "overhead_us": 1e6 * (driven - alone) / calls,
        "steps_per_s": calls / driven,
    }


def _replay(envs: VectorEnv, steps: int) -> Replay:
    columns = replay_columns(envs.spaces)
    capacity = (steps + WARMUP + 100) * envs.number
    return Replay(columns, *LATENT, capacity=capacity, streams=envs.number, batch_size=1, length=16)


def _bare_seconds(envs: list[Env], steps: int) -> float:
    """Return the time of the environments' own calls in one loop, resets included."""
    rng, ended = np.random.default_rng(0), [True] * len(envs)
    spent = 0.0
    for step in range(WARMUP + steps):
        actions = random_actions(envs[0].spaces.action, rng, len(envs))
        start = time.perf_counter()
        for index, env in enumerate(envs):
            action = {key: value[index] for key, value in actions.items()}
            record = env.reset(step * len(envs) + index) if ended[index] else env.step(action)
            ended[index] = bool(record["is_last"])
        spent += time.perf_counter() - start if step >= WARMUP else 0.0
    return spent


def vector_seconds(envs: VectorEnv, steps: int) -> float:
    """Return the time of the vector environment's calls."""
    rng, spent = np.random.default_rng(0), 0.0
    envs.reset()
    for step in range(WARMUP + steps):
        actions = random_actions(envs.spaces.action, rng, envs.number)
        start = time.perf_counter()
        envs.step(actions)
        spent += time.perf_counter() - start if step >= WARMUP else 0.0
    return spent


class _RandomPolicy:
    """Stands in for a compiled agent and answers at once, with actions drawn beforehand."""

    def __init__(self, envs: VectorEnv) -> None:
        self._latents = tuple(np.zeros((envs.number, *s.shape), s.dtype) for s in LATENT)
        self._rng, self._envs = np.random.default_rng(0), envs
        self.draw()

    def draw(self) -> None:
        """Draw the actions of the next call."""
        self._actions = random_actions(self._envs.spaces.action, self._rng, self._envs.number)

    def initial_carry(self, _: int) -> None:
        """Return the empty carry of a policy that remembers nothing."""

    def policy(self, *_: Any, **__: Any) -> tuple[None, dict[str, np.ndarray], Any]:
        """Return carry, actions and latents."""
        return None, self._actions, self._latents


def _driver_seconds(envs: VectorEnv, steps: int) -> float:
    """Return the time of whole driver steps without a policy, into a replay."""
    policy: Any = _RandomPolicy(envs)
    driver, spent = Driver(envs, policy, _replay(envs, steps).add), 0.0
    for step in range(WARMUP + steps):
        policy.draw()
        start = time.perf_counter()
        driver.step(None)
        spent += time.perf_counter() - start if step >= WARMUP else 0.0
    return spent
