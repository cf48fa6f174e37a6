"""DreamerV3 in JAX and Flax.

    agent = dreamer_jax.load("runs/cartpole")      # newest checkpoint, config included
    action = agent.act(obs)                        # keeps its own recurrent state
    dreamer_jax.run_training(config, logdir)       # the same loop the command line runs

Exports are lazy: importing the package, its environments or its replay imports no JAX.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from dreamer_jax.runtime.player import Player

__all__ = ["load", "load_config", "run_training"]
__version__ = "0.1.0"


def load(
    logdir: str | os.PathLike[str],
    step: int | None = None,
    sample: bool = False,
    *,
    trust: bool = False,
) -> Player:
    """Return the agent of a run, ready to act in one environment.

    Args:
        logdir: Directory of the run.
        step: Grad steps of the checkpoint; None for the newest whole one.
        sample: Draw actions instead of taking the most likely.
        trust: Whether code that the run's files name may be imported (docs/security.md).

    Raises:
        UserError: If there is no run or no whole checkpoint, or it names code nobody trusts.
    """
    from dreamer_jax.runtime.player import Player
    from dreamer_jax.runtime.saving.load import load_saved

    return Player(load_saved(Path(logdir), step, trust=trust), sample)


def load_config(name: str) -> ConfigDict:
    """Return the config of a preset's name or a path."""
    from dreamer_jax.config import load_config

    return load_config(name)


def run_training(config: ConfigDict, logdir: str | os.PathLike[str]) -> int:
    """Train as `python -m dreamer_jax train` does; return its exit code.

    Raises:
        UserError: If the config, the environment or the directory cannot be used.
    """
    from dreamer_jax.runtime.run import run_training

    return run_training(config, Path(logdir))
