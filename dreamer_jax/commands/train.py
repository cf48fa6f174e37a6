"""`dreamer-jax train --config=PRESET [--config.key=value …] [--logdir=DIR]`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from dreamer_jax.commands.flags import check_counts, define_config, new_flags, parse
from dreamer_jax.config import find_size
from dreamer_jax.runtime.evaluation import describe
from dreamer_jax.runtime.lock import RunLock
from dreamer_jax.runtime.media import learning_curve, write_video
from dreamer_jax.runtime.metrics import read_rows
from dreamer_jax.runtime.rundir import RunDir, claim
from dreamer_jax.runtime.signals import StopRequest
from dreamer_jax.runtime.training import Training

FINISHED, RESUMABLE = 0, 75
VIDEO_FPS = 30


def main(arguments: Sequence[str]) -> int:
    """Train, or continue the run in `--logdir`; return the exit code."""
    values = new_flags()
    define_config(values, "default")
    flags.DEFINE_string("logdir", "", "run directory; the same one resumes", flag_values=values)
    parse(values, arguments)
    return run_training(values.config, Path(values.logdir or default_logdir(values.config)))


def default_logdir(config: ConfigDict) -> str:
    """Return a new directory name made of the time, the task and the seed."""
    task = config.task.replace(":", "-").replace("/", "-")
    return f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{task}-{config.seed}"


def run_training(config: ConfigDict, logdir: Path) -> int:
    """Train as the command line does; return 0 when finished, 75 when stopped but resumable.

    Raises:
        UserError: If the config, the environment or the directory cannot be used.
    """
    check_counts(config)
    size, rundir = find_size(config.size), RunDir(logdir)
    with RunLock(logdir), StopRequest() as stop:
        claim(rundir, config.to_dict())
        training = Training(config, size, rundir)
        try:
            print(training.describe(), flush=True)
            if training.restore():
                print(f"continuing after {training.driver.policy_steps:,} policy steps")
            if not training.run(stop):
                print(f"stopped; the same command with --logdir={logdir} continues")
                return RESUMABLE
            if config.evaluation.episodes:
                finish(training)
        finally:
            training.close()
    return FINISHED


def finish(training: Training) -> None:
    """Evaluate, and leave score, learning curve and video for people to look at."""
    result, rundir = training.evaluate(), training.rundir
    curve = rundir.media / "learning_curve.png"
    learning_curve(curve, {"": read_rows(rundir.metrics)}, training.config.task)
    print(f"learning curve: {curve}")
    if result.frames is not None:
        video = rundir.media / "evaluation.mp4"
        write_video(video, result.frames, VIDEO_FPS)
        print(f"video: {video}")
    print(f"greedy evaluation: {describe(result.scores)}", flush=True)
