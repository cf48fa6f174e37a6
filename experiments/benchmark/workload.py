"""What the benchmarks run on: synthetic spaces, records and batches, and how calls are timed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dreamer_jax.config import find_size, load_config
from dreamer_jax.device.compiled import Compiled, compile_agent
from dreamer_jax.types import Batch, Replayed, Space, Spaces, TrainState

WARMUP = 3
PHASE = "joint"  # the one of the published agent


def workload_spaces(obs: str, action: str) -> Spaces:
    """Return 24 floats or a 64×64 colour picture, and 6 actions, as in the yardstick."""
    float32, int32 = np.dtype(np.float32), np.dtype(np.int32)
    seen = {"vector": Space(float32, (24,)), "image": Space(np.dtype(np.uint8), (64, 64, 3))}[obs]
    done = {"continuous": Space(float32, (6,)), "discrete": Space(int32, (), 6)}[action]
    return Spaces({obs: seen}, {"action": done})


def random_values(space: Space, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return values of a space with leading axes."""
    shape = (*lead, *space.shape)
    if space.is_image:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if space.discrete:
        return rng.integers(0, space.classes, shape).astype(space.dtype)
    return rng.uniform(-1, 1, shape).astype(space.dtype)


def random_batch(compiled: Compiled, batch: int, length: int) -> Replayed:
    """Return a batch as replay would hand it out, on the device."""
    rng, spaces = np.random.default_rng(0), compiled.agent.spaces
    lead = (batch, length + 1)
    flags = [rng.random(lead) < share for share in (0.02, 0.02, 0.01)]
    records = Batch(
        {k: random_values(s, lead, rng) for k, s in spaces.obs.items()},
        {k: random_values(s, lead, rng) for k, s in spaces.action.items()},
        rng.normal(size=lead).astype(np.float32),
        *flags,
    )
    latents = compiled.latent_spaces()
    stored = {k: np.zeros((batch, *s.shape), s.dtype) for k, s in latents.items()}
    return compiled.put_batch(Replayed(records, stored, np.zeros(batch, bool)))


def build(args: argparse.Namespace) -> Compiled:
    """Return the compiled agent of a workload."""
    config = load_config("default")
    config.compute_dtype = args.dtype
    config.agent.imag_horizon = args.horizon
    return compile_agent(config, find_size(args.size), workload_spaces(args.obs, args.action))


def step_caller(
    compiled: Compiled, state: TrainState, batch: int, length: int
) -> Callable[[], Any]:
    """Return a function that does one update more on the same random batch; takes `state` over."""
    replayed, carry = random_batch(compiled, batch, length), compiled.initial_carry(batch)

    def call() -> Any:
        nonlocal state
        update = compiled.train(PHASE, state, carry, replayed)
        state = update.state
        return update

    return call


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return the 10th, 50th and 90th percentile in milliseconds."""
    low, median, high = 1e3 * np.percentile(seconds, [10, 50, 90])
    return {"ms_p10": low, "ms_median": median, "ms_p90": high}


def timings(call: Callable[[], Any], steps: int) -> dict[str, float]:
    """Return the first call in seconds and percentiles of later ones in milliseconds."""

    def timed() -> float:
        start = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - start

    first = timed()
    for _ in range(WARMUP):
        timed()
    return {"first_call_s": first, **percentiles([timed() for _ in range(steps)])}
