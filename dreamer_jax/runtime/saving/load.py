"""Loading a trained agent from its run directory, for evaluation and for use in Python.

A run directory may come from somebody else. Code that its files name is not imported or called,
unless the code is a part of this package, or the caller says `trust` (docs/security.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, compile_agent
from dreamer_jax.device.trees import array_table, restore_arrays
from dreamer_jax.envs.registry import names_code
from dreamer_jax.errors import UserError
from dreamer_jax.named import code_named
from dreamer_jax.runtime.environments import Envs, make_envs
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.rundir import RunDir, read_config, read_spaces

TRUST = "if you wrote it or trust who did, say --trust, or trust=True in Python"


class Saved(NamedTuple):
    """An agent out of a checkpoint: its config, compiled functions and parameters."""

    config: ConfigDict
    compiled: Compiled
    params: dict[str, Any]  # for acting
    grad_steps: int
    trust: bool  # whether code that the config names may run

    def make_envs(
        self,
        number: int,
        *,
        seed: int,
        process: int,
        watched: bool,
        task: str = "",
        warn: Callable[[str], None] = print,
    ) -> Envs:
        """Make environments of the task that the agent was trained on; see `make_envs`.

        Args:
            number: Number of environments.
            seed: Seed of the episodes.
            process: Stands for the index of a process in the seeds of episodes.
            watched: Whether `render` will be called.
            task: A task that the caller names, and thereby trusts; "": the task of the run.
            warn: Receives one-line messages. No Python warnings: where those are errors, a close
                that raises would cost what was done before it.

        Raises:
            UserError: If the task of the run names code, and the caller did not say `trust`.
        """
        config = ConfigDict(self.config.to_dict())
        config.task = task or config.task
        if not (task or self.trust) and names_code(config.task):
            raise UserError(
                f"the run's task {config.task!r} would run code that its config.json names; "
                f"repeat it (--task={config.task}), or {TRUST}"
            )
        return make_envs(config, number, seed=seed, process=process, watched=watched, warn=warn)


def load_saved(logdir: Path, step: int | None = None, *, trust: bool = False) -> Saved:
    """Load the agent of a checkpoint, without replay and simulator; changes nothing on disk.

    Args:
        logdir: Directory of the run.
        step: Grad steps of the checkpoint; None for the newest whole one.
        trust: Whether code that the files of the run name may be imported.

    Raises:
        UserError: If there is no run or no whole checkpoint, if the checkpoint does not fit the
            config, or if the config names code and `trust` is false.
    """
    rundir = RunDir(logdir)
    config = ConfigDict(read_config(rundir))
    if named := [] if trust else list(code_named(config)):
        option, name = named[0]
        raise UserError(
            f"config.{option}={name!r} of {rundir.config} would run code that the file names; "
            f"{TRUST}"
        )
    compiled = compile_agent(config, find_size(config.size), read_spaces(rundir))
    shapes = compiled.shape()
    skipped: list[str] = []
    saver = Checkpointer(rundir.checkpoints, keep=1, warn=skipped.append)
    found = saver.load(step, array_table(shapes, "state/"))
    if found is None:
        reason = "; ".join(skipped) or "none was saved yet; train first"
        raise UserError(f"{logdir} holds no whole checkpoint: {reason}")
    for message in skipped:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    state = restore_arrays(shapes, found.arrays, "state/")
    return Saved(config, compiled, compiled.acting(state), found.step, trust)
