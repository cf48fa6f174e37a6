"""`dreamer-jax train --config=PRESET [--config.key=value …] [--logdir=DIR]`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from dreamer_jax.cluster.processes import start
from dreamer_jax.commands.flags import define_config, new_flags, parse
from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import debug_nans, processes
from dreamer_jax.errors import RunFault, UserError
from dreamer_jax.runtime.evaluation import describe
from dreamer_jax.runtime.limits import check_limits
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.lock import RunLock
from dreamer_jax.runtime.saving.rundir import RunDir, check_config, claim
from dreamer_jax.runtime.showing.media import learning_curve, without_pictures, write_video
from dreamer_jax.runtime.showing.metrics import read_rows
from dreamer_jax.runtime.signals import StopRequest
from dreamer_jax.runtime.training import Training

FINISHED, RESUMABLE = 0, 75
VIDEO_FPS = 30
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
    lifeline = start(values.coordinator, values.processes, values.process, values.patience)
    if processes()[1] > 1 and not values.logdir:
        raise UserError("several processes need one --logdir that all of them see")
    try:
        code = run_training(values.config, Path(values.logdir or default_logdir(values.config)))
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


def run_training(config: ConfigDict, logdir: Path) -> int:
    """Train as the command line does; return 0 when finished, 75 when stopped but resumable.

    Raises:
        UserError: If the config, the environment or the directory cannot be used.
    """
    size, rundir, plain = find_size(config.size), RunDir(logdir), config.to_dict()
    check_limits(config, size)
    check_config(rundir, plain)
    # Whatever a person got wrong shows up before anything is written.
    training = Training(config, size, rundir)
    try:
        first = training.process == 0  # speaks and writes for all
        lock = RunLock(logdir) if first else nullcontext()
        with lock, StopRequest() as stop, debug_nans(config.debug_nans):
            print(training.describe(), flush=True)
            if training.restore() and first:
                print(f"continuing after {training.agreement.policy_steps:,} policy steps")
            if first:
                claim(rundir, plain)
            finished = training.run(stop)
            if finished and config.evaluation.episodes:
                finish(training)
            check_saved(training.checkpoints)
            if not finished and first:
                print(f"stopped; the same command with --logdir={logdir} continues")
            return FINISHED if finished else RESUMABLE
    except KeyboardInterrupt:
        training.checkpoints.abandon()
        raise
    finally:
        training.close()


def check_saved(checkpoints: Checkpointer) -> None:
    """Check that the newest checkpoint is that of the end, to resume from or to load.

    Raises:
        RunFault: If the disk did not take it.
        Exception: If saving failed otherwise.
    """
    error = checkpoints.last_error
    if isinstance(error, OSError):
        older = checkpoints.history()
        raise RunFault(
            f"the last checkpoint was not saved ({error}); make room, and the same command "
            + (f"goes on from update {older[0]}" if older else "starts anew")
        ) from error
    if error is not None:
        raise error


def finish(training: Training) -> None:
    """Evaluate, and leave score, learning curve and video for people to look at."""
    result, rundir = training.evaluate(), training.rundir
    if result is None:
        return
    curve, video = rundir.media / "learning_curve.png", rundir.media / "evaluation.mp4"
    with without_pictures(print):
        learning_curve(curve, {"": read_rows(rundir.metrics)}, training.config.task)
        print(f"learning curve: {curve}")
    if result.frames is not None:
        with without_pictures(print):
            write_video(video, result.frames, VIDEO_FPS)
            print(f"video: {video}")
    print(f"greedy evaluation: {describe(result.scores)}", flush=True)
