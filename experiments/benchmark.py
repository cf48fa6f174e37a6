"""Time the compiled functions: `python -m experiments.benchmark {step,policy} [--option=value …]`.

Prints a table and can write JSON. `--against=FILE` also runs a yardstick script with the same
workload, in turn, so that a ratio can be taken on a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_jax.config import find_size, load_config
from dreamer_jax.parallel import Compiled, compile_agent
from dreamer_jax.types import Batch, Latent, Replayed, Space, Spaces

WARMUP = 3


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
    latent = Latent(*(np.zeros((batch, *s.shape), s.dtype) for s in compiled.latent_spaces()))
    return compiled.put_batch(Replayed(records, latent, np.zeros(batch, bool)))


def build(args: argparse.Namespace) -> Compiled:
    """Return the compiled agent of a workload."""
    config = load_config("default")
    config.compute_dtype = args.dtype
    return compile_agent(config, find_size(args.size), workload_spaces(args.obs, args.action))


def timings(call: Callable[[], Any], steps: int) -> dict[str, float]:
    """Return the first call in seconds and percentiles of later ones in milliseconds."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    first = time.perf_counter() - start
    for _ in range(WARMUP):
        jax.block_until_ready(call())
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    low, median, high = 1e3 * np.percentile(seconds, [10, 50, 90])
    return {"first_call_s": first, "ms_p10": low, "ms_median": median, "ms_p90": high}


def bench_step(args: argparse.Namespace) -> dict[str, Any]:
    """Time whole updates: world model, imagination, actor, critic, optimiser, all outputs."""
    compiled = build(args)
    replayed = random_batch(compiled, args.batch, args.length)
    state, carry = compiled.init(), compiled.initial_carry(args.batch)

    def call() -> Any:
        nonlocal state
        update = compiled.train(state, carry, replayed)
        state = update.state
        return update

    result = timings(call, args.steps)
    cost = compiled.cost(state, carry, replayed)
    count = sum(x.size for x in jax.tree.leaves(state.params))
    records = args.batch * args.length / result["ms_median"] * 1e3
    return {**result, "records_per_s": records, "parameters": count, **cost}


def bench_policy(args: argparse.Namespace) -> dict[str, Any]:
    """Time one policy call for `--batch` environments, transfers included."""
    compiled = build(args)
    rng, spaces = np.random.default_rng(0), compiled.agent.spaces
    obs = {k: random_values(s, (args.batch,), rng) for k, s in spaces.obs.items()}
    params, first = compiled.acting(compiled.init()), np.zeros(args.batch, bool)
    carry = compiled.initial_carry(args.batch)

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


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["step", "policy"])
    parser.add_argument("--obs", choices=["vector", "image"], default="vector")
    parser.add_argument("--action", choices=["continuous", "discrete"], default="continuous")
    parser.add_argument("--size", default="1m")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", help="yardstick script with the same options")
    return parser.parse_args()


def main() -> None:
    """Run one benchmark and print its table."""
    args = parse()
    result = {"step": bench_step, "policy": bench_policy}[args.what](args)
    if args.against:
        other = run_yardstick(args)
        result |= {f"yardstick_{name}": value for name, value in other.items()}
        result |= {f"ratio_{name}": value / result[name] for name, value in other.items()}
    title = f"{args.what} {args.obs} {args.action} {args.size} {args.batch}×{args.length}"
    print(f"{title} {args.dtype} on {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name, value in result.items():
        print(f"  {name:24} {value:,.3f}" if isinstance(value, float) else f"  {name:24} {value:,}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
