"""A whole run: from a config and a directory to a trained, evaluated agent.

The command line and `dreamer_jax.run_training` both come here.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ml_collections import ConfigDict

from dreamer_jax.config import find_size, with_tuples
from dreamer_jax.device.compiled import debug_nans
from dreamer_jax.errors import FINISHED, RESUMABLE, RunFault, UserError
from dreamer_jax.runtime.assemble import assemble
from dreamer_jax.runtime.options.limits import check_limits
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.lock import RunLock
from dreamer_jax.runtime.saving.rundir import RunDir, check_config, claim
from dreamer_jax.runtime.showing.media import learning_curve, without_pictures, write_video
from dreamer_jax.runtime.showing.metrics import read_rows
from dreamer_jax.runtime.showing.summary import describe
from dreamer_jax.runtime.signals import StopRequest
from dreamer_jax.runtime.training import Training

VIDEO_FPS = 30


def run_training(config: ConfigDict, logdir: Path) -> int:
    """Train as the command line does; return 0 when finished, 75 when stopped but resumable.

    Signals stop a run that is in the main thread; in another one they are not heard.

    Raises:
        UserError: If the config, the environment or the directory cannot be used.
    """
    check_limits(config)
    plain, rundir = with_tuples(config.to_dict()), RunDir(logdir)
    config, size = ConfigDict(plain), find_size(config.size)
    check_config(rundir, plain)
    check_in_place(rundir)
    # Whatever a person got wrong shows up before anything is written.
    parts = assemble(config, size, rundir)
    try:
        training = Training(parts)
    except BaseException:
        parts.origin.close()
        raise
    try:
        first = parts.process == 0  # speaks and writes for all
        lock = RunLock(logdir) if first else nullcontext()
        with lock, StopRequest() as stop, debug_nans(config.debug_nans):
            print(parts.describe(), flush=True)
            if training.restore() and first:
                print(f"continuing after {parts.agreement.policy_steps:,} policy steps")
            if first:
                claim(rundir, plain, parts.origin.spaces)
            finished = training.run(stop)
            if finished and config.evaluation.episodes:
                finished = finish(training, stop)
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


def check_in_place(rundir: RunDir) -> None:
    """Check that a run that has saved checkpoints still has some.

    A new run would empty the metrics of the old one.

    Args:
        rundir: Need not exist.

    Raises:
        UserError: If they are gone and metrics are there.
    """
    folder = rundir.checkpoints
    if not rundir.metrics.is_file() or next(read_rows(rundir.metrics), None) is None:
        return
    # A run that was killed before its first checkpoint has an empty folder and no replay, or what
    # it was writing.
    gone = not folder.is_dir() or (_is_filled(rundir.replay) and not _is_filled(folder))
    if gone:
        raise UserError(
            f"{rundir.metrics} holds the metrics of a run whose checkpoints are gone; put them "
            f"back into {folder}, or, to start anew, choose another --logdir or move metrics.jsonl "
            "away"
        )


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def finish(training: Training, stop: StopRequest) -> bool:
    """Evaluate, and leave score, learning curve and video for people to look at.

    Returns:
        Whether the evaluation was completed, and not stopped.
    """
    result, parts = training.evaluate(stop), training.parts
    if result is None or parts.process:  # process 0 speaks and writes for all
        return result is None or result.complete
    if not result.complete:
        done, asked = len(result.episodes), parts.config.evaluation.episodes
        print(f"greedy evaluation stopped after {done} of {asked} episodes; it begins anew")
        return False
    print(f"greedy evaluation: {describe(result.scores)}", flush=True)
    curve, video = parts.rundir.media / "learning_curve.png", parts.rundir.media / "evaluation.mp4"
    with without_pictures(print):
        learning_curve(curve, {"": read_rows(parts.rundir.metrics)}, parts.config.task)
        print(f"learning curve: {curve}")
    if result.frames is not None:
        with without_pictures(print):
            write_video(video, result.frames, VIDEO_FPS)
            print(f"video: {video}")
    return True
