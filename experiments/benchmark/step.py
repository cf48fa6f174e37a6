"""Whole updates and policy calls, alone; the yardstick script beside them."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import numpy as np

from dreamer_jax.device.compiled import Compiled
from experiments.benchmark.flops import count_flops, reached_flops
from experiments.benchmark.workload import (
    PHASE,
    build,
    random_batch,
    random_values,
    step_caller,
    timings,
)


def bench_step(args: argparse.Namespace) -> dict[str, Any]:
    """Time whole updates: world model, imagination, actor, critic, optimiser, all outputs."""
    compiled = build(args)
    result: dict[str, Any] = time_updates(compiled, args)
    result["records_per_s"] = args.batch * args.length / result["ms_median"] * 1e3
    result |= arithmetic(compiled, args, result["ms_median"] / 1e3)
    if args.against:
        other = run_yardstick(args)
        result |= {f"yardstick_{name}": value for name, value in other.items()}
        result |= {f"ratio_{name}": value / result[name] for name, value in other.items()}
    return result


def time_updates(compiled: Compiled, args: argparse.Namespace) -> dict[str, float]:
    """Return the first update in seconds and percentiles of later ones in milliseconds."""
    call = step_caller(compiled, compiled.init(), args.batch, args.length)
    return timings(call, args.steps)


def arithmetic(compiled: Compiled, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Return counts of an update, and the share it reaches of one large product's speed here."""
    state, carry = compiled.shape(), compiled.initial_carry(args.batch)
    replayed = random_batch(compiled, args.batch, args.length)
    cost = compiled.cost(PHASE, state, carry, replayed)
    flops = count_flops(
        partial(compiled.agent.train, PHASE), state, carry, replayed, jax.random.key(0)
    )
    reached = reached_flops(args.dtype, 2048 if jax.default_backend() == "cpu" else 8192)
    return {
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "peak_bytes": cost.get("peak_bytes"),
        "flops": flops,
        "flops_by_xla": cost["flops"],  # which counts the body of a loop once
        "tflops_per_s": flops / seconds / 1e12,
        "share_of_large_product": flops / seconds / reached,
    }


def bench_policy(args: argparse.Namespace) -> dict[str, Any]:
    """Time one policy call for `--batch` environments, transfers included."""
    compiled = build(args)
    rng, spaces = np.random.default_rng(0), compiled.agent.spaces
    obs = {k: random_values(s, (args.batch,), rng) for k, s in spaces.obs.items()}
    params, first = compiled.acting(compiled.init()), np.zeros(args.batch, bool)
    carry = compiled.initial_acting_carry(args.batch)

    def call() -> Any:
        nonlocal carry
        carry, action, latents = compiled.policy(params, carry, obs, first, 0)
        return jax.tree.map(np.asarray, (action, latents))

    return timings(call, args.steps)


def run_yardstick(args: argparse.Namespace) -> dict[str, float]:
    """Run the other script on the same workload and read its printed figures."""
    names = ("obs", "action", "size", "dtype", "batch", "length", "steps")
    options = [f"--{name}={getattr(args, name)}" for name in names]
    command = [sys.executable, args.against, *options]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"first call ([\d.]+) s, median ([\d.]+) ms", text)
    if found is None:
        raise SystemExit(f"no figures in the output of {args.against}: {text!r}")
    return {"first_call_s": float(found[1]), "ms_median": float(found[2])}
