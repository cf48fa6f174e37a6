"""The smallest runs that still have every part, for tests of the host loop and the commands.

Widths are distinct and divide where they must. All tests use the same numbers, so that programs
compiled for one are found by the next (see conftest.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dreamer_jax.config import find_size, load_config
from dreamer_jax.device.compiled import Compiled, compile_agent
from dreamer_jax.runtime.assemble import assemble
from dreamer_jax.runtime.saving.rundir import RunDir
from dreamer_jax.runtime.training import Training
from dreamer_jax.types import Spaces

_SMALL = {
    "size": "16/8/3/2/8",
    "agent.groups": 3,
    "agent.blocks": 4,
    "agent.bins": 11,
    "agent.imag_horizon": 3,
    "agent.warmup": 2,
    "steps": 60,
    "envs": 3,
    "log.every": 10,
    "log.report_every": 0,
    "checkpoint.seconds": 1e9,
}


def small_options() -> dict[str, Any]:
    """Return what makes the preset `debug` small, by dotted name."""
    layers = {f"agent.{k}": 1 for k in load_config("debug").agent if k.endswith("_layers")}
    return _SMALL | layers


def tiny_run(task: str, options: Mapping[str, Any] | None = None) -> ConfigDict:
    """Return the config of a run of seconds; `options` are dotted overrides."""
    config = load_config("debug")
    config.task = task
    with config.unlocked():  # options of environments are names that no preset has
        config.update_from_flattened_dict(small_options() | dict(options or {}))
    return config


def tiny_arguments(task: str, logdir: Path, **options: Any) -> list[str]:
    """Return the command line of `train` for `tiny_run`; `__` in a name stands for a dot."""
    dotted = {name.replace("__", "."): value for name, value in options.items()}
    overrides = small_options() | {"task": task} | dotted
    given = [f"--config.{name}={value}" for name, value in overrides.items()]
    return ["train", "--config=debug", f"--logdir={logdir}", *given]


_AGENTS: dict[str, Compiled] = {}


def shared_agent(config: Any, size: Any, spaces: Spaces, all_devices: bool = False) -> Compiled:
    """Stand in for `compile_agent`: one agent per meaning of its arguments."""
    parts = (config.agent, config.replay.context, config.seed, config.compute_dtype, size, spaces)
    if repr(parts) not in _AGENTS:
        _AGENTS[repr(parts)] = compile_agent(config, size, spaces, all_devices=all_devices)
    return _AGENTS[repr(parts)]


def make_training(config: ConfigDict, root: Path) -> Training:
    """Return a training in `root`, not yet restored."""
    return Training(assemble(config, find_size(config.size), RunDir(root)))


def disk(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything below a directory; empty if there is none."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }
