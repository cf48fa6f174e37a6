"""`python -m experiments.benchmark WHAT [--option=value …]`; `--help` lists what there is.

Prints a table and can write JSON. `step --against=FILE` also runs a yardstick script with the same
workload, in turn, so that a ratio can be taken on a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax

from experiments.benchmark.device_envs import bench_device_envs
from experiments.benchmark.envs import bench_envs
from experiments.benchmark.loop import bench_loop
from experiments.benchmark.parts import bench_parts
from experiments.benchmark.program import bench_program
from experiments.benchmark.replay import bench_replay
from experiments.benchmark.scaling import bench_scaling
from experiments.benchmark.step import bench_policy, bench_step

BENCHMARKS = {
    "step": bench_step,
    "parts": bench_parts,
    "program": bench_program,
    "scaling": bench_scaling,
    "policy": bench_policy,
    "replay": bench_replay,
    "envs": bench_envs,
    "device_envs": bench_device_envs,
    "loop": bench_loop,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(BENCHMARKS))
    parser.add_argument("--obs", choices=["vector", "image"], default="vector")
    parser.add_argument("--action", choices=["continuous", "discrete"], default="continuous")
    parser.add_argument("--size", default="1m")
    parser.add_argument("--batch", type=int, default=16, help="rows, or environments")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=15, help="imagined steps")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=9, help="timed calls")
    parser.add_argument("--records", type=int, default=10_000, help="capacity of the replay")
    parser.add_argument("--config", default="default", help="preset of envs and loop")
    parser.add_argument("--task", default="", help="instead of the preset's")
    parser.add_argument("--envs", type=int, default=0, help="instead of the preset's (loop)")
    parser.add_argument("--ratio", type=float, default=0.0, help="instead of the preset's (loop)")
    parser.add_argument("--workers", choices=["auto", "inline", "process", "ray"], default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", default="", help="PNG file (scaling)")
    parser.add_argument("--against", default="", help="yardstick script with the same options")
    return parser.parse_args(arguments)


def main() -> None:
    """Run one benchmark and print its table."""
    args = parse()
    result = BENCHMARKS[args.what](args)
    subject = result.get("task", f"{args.obs} {args.action}")  # a task brings its own spaces
    title = f"{args.what} {subject} {args.size} {args.batch}×{args.length} {args.dtype}"
    print(f"{title} on {jax.devices()[0].device_kind}, jax {jax.__version__}")
    for name, value in result.items():
        print(f"  {name:24} {_shown(value)}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
