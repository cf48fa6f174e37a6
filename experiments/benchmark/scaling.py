"""How the cost of an update, and of acting, grows with each factor; a table and a picture.

One factor is varied at a time around the workload of the command line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from experiments.benchmark.step import bench_policy, time_updates
from experiments.benchmark.workload import build

FACTORS: dict[str, tuple[Any, ...]] = {
    "size": ("100k", "500k", "1m", "12m"),
    "batch": (4, 8, 16, 32),
    "length": (16, 32, 64, 128),
    "horizon": (5, 15, 30),
}
ENVIRONMENTS = (1, 4, 16, 64, 256)


def bench_scaling(args: argparse.Namespace) -> dict[str, Any]:
    """Time an update for every value of every factor; write the picture to `--picture`."""
    result: dict[str, Any] = {}
    known: dict[tuple[Any, ...], float] = {}
    for factor, values in FACTORS.items():
        for value in values:
            changed = argparse.Namespace(**{**vars(args), factor: value})
            workload = tuple(getattr(changed, name) for name in FACTORS)
            if workload not in known:
                known[workload] = time_updates(build(changed), changed)["ms_median"]
            result[f"{factor}={value}"] = known[workload]
            print(f"  {factor}={value}: {known[workload]:,.1f} ms", flush=True)
    for number in ENVIRONMENTS:
        changed = argparse.Namespace(**{**vars(args), "batch": number, "steps": 10 * args.steps})
        result[f"envs={number}"] = bench_policy(changed)["ms_median"]
    if args.picture:
        draw(result, Path(args.picture))
    return result


def draw(result: dict[str, float], path: Path) -> None:
    """Draw one panel per factor: milliseconds against its value, both from zero."""
    from matplotlib.figure import Figure  # of an extra that other benchmarks do without

    panels: dict[str, tuple[list[str], list[float]]] = {}
    for name, milliseconds in result.items():
        factor, _, value = name.partition("=")
        labels, heights = panels.setdefault(factor, ([], []))
        labels.append(value)
        heights.append(milliseconds)
    figure = Figure(figsize=(3 * len(panels), 3), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, (factor, (labels, heights)) in zip(axes, panels.items(), strict=True):
        bars = axis.bar(labels, heights, color="#4c72b0")
        axis.bar_label(bars, fmt=lambda x: f"{x:,.0f}" if x >= 10 else f"{x:.2f}", fontsize=8)
        axis.set_title(
            "policy call, by environments" if factor == "envs" else f"update, by {factor}"
        )
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("ms")
    figure.savefig(path, dpi=110)
