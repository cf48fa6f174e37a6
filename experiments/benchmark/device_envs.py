"""Environments written in JAX: the device path beside the host path, random actions and an agent.

Host: `HostEnv`s behind the vector environment. Device: the compiled loop. Both end with the records
in replay.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.config import find_size, load_config
from dreamer_jax.device.compiled import Compiled, compile_agent
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.runtime.assemble import make_replay
from dreamer_jax.runtime.environments import Environments, Envs, make_driver, make_envs
from experiments.benchmark.workload import WARMUP


def bench_device_envs(args: argparse.Namespace) -> dict[str, Any]:
    """Step `--batch` environments for `--steps` vector steps by either path."""
    config = load_config(args.config)
    config.task, config.size = args.task or "device:chase", args.size
    config.envs, config.compute_dtype = args.batch, args.dtype
    config.replay.capacity = args.batch * (args.steps + 4 * config.batch_size * config.batch_length)
    result: dict[str, Any] = {"task": config.task, "steps_a_call": config.device_steps}
    with make_envs(config, args.batch, seed=0) as device:
        config.device_steps = 0
        with make_envs(config, args.batch, seed=0) as host:
            if not (isinstance(device, DeviceVectorEnv) and isinstance(host, VectorEnv)):
                raise SystemExit(f"{config.task} is not written in JAX")
            compiled = compile_agent(config, find_size(config.size), device.spaces)
            paths: dict[str, Callable[[], float]] = {
                "host_random": lambda: _host_random(host, args.steps),
                "device_random": lambda: _device_random(device, args.steps),
                "host_agent": lambda: _agent(host, config, compiled, args.steps),
                "device_agent": lambda: _agent(device, config, compiled, args.steps),
            }
            for name, seconds in paths.items():
                result[f"{name}_steps_per_s"] = args.steps * args.batch / seconds()
    for kind in ("random", "agent"):
        device_rate, host_rate = (result[f"{w}_{kind}_steps_per_s"] for w in ("device", "host"))
        result[f"{kind}_device_over_host"] = device_rate / host_rate
    return result


def _agent(envs: Envs, config: Any, compiled: Compiled, steps: int) -> float:
    """Return the time of acting and storing; `steps` is a multiple of the steps of a call."""
    replay = make_replay(config, Environments(envs), compiled.latent_spaces())
    driver = make_driver(envs, compiled, replay)
    params = compiled.acting(compiled.init())
    for _ in range(WARMUP):
        driver.step(params)
    calls, start = driver.calls, time.perf_counter()
    while driver.calls < calls + steps:
        driver.step(params)
    return (time.perf_counter() - start) * steps / (driver.calls - calls)


def _host_random(envs: VectorEnv, steps: int) -> float:
    """Return the time of the vector environment's calls."""
    rng, spent = np.random.default_rng(0), 0.0
    envs.reset()
    for step in range(WARMUP + steps):
        actions = random_actions(envs.spaces.action, rng, envs.number)
        start = time.perf_counter()
        envs.step(actions)
        spent += time.perf_counter() - start if step >= WARMUP else 0.0
    return spent


def _device_random(envs: DeviceVectorEnv, steps: int) -> float:
    """Return the time of loops without a policy; records come to the host."""
    spaces = envs.spaces.action
    seeds = jnp.asarray([envs.episode_seeds(e, 0, 1)[0] for e in range(envs.number)], jnp.uint32)

    def step(loop: Any, key: jax.Array) -> Any:
        states, ended = loop
        keys = dict(zip(spaces, jax.random.split(key, len(spaces)), strict=True))
        actions = {
            name: jax.random.randint(keys[name], (envs.number, *space.shape), 0, space.classes)
            if space.classes is not None
            else jax.random.uniform(keys[name], (envs.number, *space.shape), minval=-1.0)
            for name, space in spaces.items()
        }
        # The same episodes over and over: their start costs the same.
        states, records = envs.step(states, ended, actions, seeds)
        return (states, records["is_last"]), records

    loop = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))
    states, records = jax.jit(envs.reset)(seeds)
    carry = states, records["is_last"]
    keys = partial(jax.random.split, num=envs.steps)
    carry, _ = loop(carry, keys(jax.random.key(0)))
    calls = -(-steps // envs.steps)
    batches = [keys(jax.random.key(call)) for call in range(calls)]
    start = time.perf_counter()
    for batch in batches:
        carry, records = loop(carry, batch)
        jax.device_get(records)
    return (time.perf_counter() - start) * steps / (calls * envs.steps)
