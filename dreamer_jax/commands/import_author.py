"""`dreamer-jax import_author --checkpoint=PKL --config_yaml=YAML --task=TASK --logdir=DIR`.

Makes a run directory from a checkpoint of the maintained code, to evaluate, act with, or train on
from (`--config.from_checkpoint=DIR`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from absl import flags
from ml_collections import ConfigDict

from dreamer_jax.commands.flags import new_flags, parse
from dreamer_jax.compat.names import import_optimizer, import_params
from dreamer_jax.compat.options import get_option, import_options, size_name
from dreamer_jax.compat.pickles import read_author_checkpoint
from dreamer_jax.config import find_size, load_config
from dreamer_jax.device.compiled import compile_agent, name_arrays
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.lock import RunLock
from dreamer_jax.runtime.saving.rundir import RunDir, claim
from dreamer_jax.types import Spaces, TrainState


def main(arguments: Sequence[str]) -> int:
    """Convert one checkpoint."""
    values = new_flags()
    for name, text in {
        "checkpoint": "agent.pkl of the maintained code",
        "config_yaml": "its config.yaml",
        "task": "our name of its task, suite:name",
        "logdir": "new run directory",
    }.items():
        flags.DEFINE_string(name, "", text, flag_values=values)
    parse(values, arguments)
    for name in ("checkpoint", "config_yaml", "task", "logdir"):
        if not values[name].value:
            raise UserError(f"import_author needs --{name}=…: {values[name].help}")
    config = import_config(_read_yaml(Path(values.config_yaml)), values.task)
    rundir = RunDir(Path(values.logdir))
    if rundir.config.exists():
        raise UserError(f"{rundir.root} already holds a run; choose a new --logdir")
    spaces = find_spaces(config)
    state = convert(config, spaces, Path(values.checkpoint))
    with RunLock(rundir.root):
        claim(rundir, config.to_dict(), spaces)
        updates = write(state, rundir)
    print(f"imported {updates:,} updates into {rundir.root}")
    return 0


def import_config(options: Mapping[str, Any], task: str) -> ConfigDict:
    """Return our config for the maintained code's whole configuration.

    Raises:
        UserError: For a missing option, or one that has no counterpart here; names it.
    """
    get = partial(get_option, options)
    config = ConfigDict(load_config("default").to_dict())
    agent, widths = import_options(get("agent"), config.agent)
    config.agent, config.size, config.task = agent, size_name(widths), task
    try:
        config.seed, config.envs = get("seed"), get("run.envs")
        config.steps, config.train_ratio = int(get("run.steps")), float(get("run.train_ratio"))
        config.batch_size, config.batch_length = get("batch_size"), get("batch_length")
        config.replay.capacity = int(get("replay.size"))
        config.replay.context = get("replay_context")
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the config.yaml cannot be used: {error}") from error
    check_limits(config)
    return config


def find_spaces(config: ConfigDict) -> Spaces:
    """Return the spaces of the config's task, which a person has just named."""
    env = make_env(config.task, **config.env.to_dict())
    spaces = env.spaces
    try:
        env.close()
    except (Exception, SystemExit) as error:  # its spaces are known
        print(f"{config.task} could not be closed: {type(error).__name__}: {error}")
    return spaces


def convert(config: ConfigDict, spaces: Spaces, checkpoint: Path) -> TrainState:
    """Return the checkpoint's parameters, optimiser and update count as our train state.

    Raises:
        UserError: If the file is damaged, or does not fit the config and the task.
    """
    params, _ = read_author_checkpoint(checkpoint)
    compiled = compile_agent(config, find_size(config.size), spaces)
    state = import_params(compiled.init(), params, spaces.obs)
    return import_optimizer(state, params, spaces.obs)


def write(state: TrainState, rundir: RunDir) -> int:
    """Write a checkpoint that holds this state alone; return its number of updates."""
    updates = int(state.grad_steps)
    checkpointer = Checkpointer(rundir.checkpoints, keep=1)
    checkpointer.save(updates, name_arrays(state, "state/"), {})
    checkpointer.wait()
    if checkpointer.last_error is not None:
        raise checkpointer.last_error
    return updates


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(options, dict) or "agent" not in options:
        raise UserError(f"{path} is not a config of the maintained code: it has no `agent`")
    return options
