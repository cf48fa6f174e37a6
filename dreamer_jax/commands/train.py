"""`dreamer-jax train --config=PRESET [--config.key=value …] [--logdir=DIR]`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from dreamer_jax.cluster.processes import start
from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.device.compiled import processes
from dreamer_jax.errors import UserError
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.run import run_training

PROCESSES = (
    ("processes", 0, "of this run, with --coordinator; 1 without: ignore launchers"),
    ("process", -1, "which of them this is, from 0, with --coordinator"),
    ("patience", 100, "seconds without a sign of life after which a host counts as lost"),
)


def main(arguments: Sequence[str]) -> int:
    """Train, or continue the run in `--logdir`; return the exit code."""
    values = new_flags()
    arguments = define_config(values, "default", arguments)
    flags.DEFINE_string("logdir", "", "run directory; the same one resumes", flag_values=values)
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, or auto", flag_values=values)
    for name, default, text in PROCESSES:
        flags.DEFINE_integer(name, default, text, flag_values=values)
    parse(values, arguments)
    check_limits(values.config)  # before other machines are waited for
    logdir = Path(values.logdir) if values.logdir else None
    lifeline = start(values.coordinator, values.processes, values.process, values.patience, logdir)
    if processes()[1] > 1 and not values.logdir:
        raise UserError("several processes need one --logdir that all of them see")
    try:
        code = run_training(values.config, logdir or Path(default_logdir(values.config)))
    except UserError:
        raise
    except Exception:
        if lifeline is not None:  # some collective fails first where a process was lost
            lifeline.await_loss()
        raise
    if lifeline is not None:
        lifeline.leave()
    return code


def default_logdir(config: ConfigDict) -> str:
    """Return a new directory name made of the time, the task and the seed."""
    task = config.task.replace(":", "-").replace("/", "-")
    return f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{task}-{config.seed}"
