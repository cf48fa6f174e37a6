"""`dreamer-jax selftest [--logdir=DIR]`: see whether this machine can train, and what to mend."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from dreamer_jax.commands.flags import new_flags, parse
from dreamer_jax.config import load_config
from dreamer_jax.errors import UserError

FAULTY = 1  # exit code
LEAST_SPACE = 2**30  # bytes; checkpoints of the larger agents take several of these
_TINY = {"size": "16/8/3/2/8", "steps": 40, "train_ratio": 2.0, "log.report_every": 0}


class Skipped(Exception):
    """A check of something that is not installed and not needed by every run."""


def main(arguments: Sequence[str]) -> int:
    """Run every check, print a line for each, and return 1 if one failed."""
    values = new_flags()
    flags.DEFINE_string("logdir", "runs", "where runs will be written", flag_values=values)
    parse(values, arguments)
    checks: dict[str, Callable[[], str]] = {
        "device": check_device,
        "disk": lambda: check_disk(Path(values.logdir)),
        "rendering": check_rendering,
        "video": check_video,
        "training": check_training,
    }
    failed = [name for name, check in checks.items() if not _passes(name, check)]
    print(f"mend first: {', '.join(failed)}" if failed else "this machine can train")
    return FAULTY if failed else 0


def _passes(name: str, check: Callable[[], str]) -> bool:
    try:
        print(f"ok       {name}: {check()}", flush=True)
    except Skipped as reason:
        print(f"skipped  {name}: {reason}", flush=True)
    except Exception as error:  # whatever is broken must not hide what else is
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        print(f"FAILED   {name}: {kind}{' '.join(str(error).split())}", flush=True)
        return False
    return True


def check_device(nvidia: Path = Path("/dev/nvidiactl")) -> str:
    """Return what JAX computes on, after computing something there.

    Raises:
        UserError: If it computes wrongly, or there is a GPU that JAX does not see.
    """
    import jax
    import jax.numpy as jnp

    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"JAX finds no device ({error}); install the extra cuda12, cuda13 or tpu that fits the "
            "driver, or unset JAX_PLATFORMS"
        ) from error
    ones = jnp.ones((64, 64))
    if not bool((ones @ ones == 64).all()):
        raise UserError(f"{devices[0]} multiplies 64×64 ones wrongly; try another driver")
    kind = f"{devices[0].device_kind} ({jax.default_backend()}, jax {jax.__version__})"
    text = f"{len(devices)} × {kind}"
    if jax.default_backend() == "cpu" and nvidia.exists() and not os.environ.get("JAX_PLATFORMS"):
        raise UserError(
            f"{text}, but there is an NVIDIA driver: pip install 'dreamer-jax[cuda12]' or, for "
            "drivers from 580 on, 'dreamer-jax[cuda13]'"
        )
    return text


def check_disk(logdir: Path) -> str:
    """Return the free space of the place for runs, where files can be flushed, renamed and locked.

    Raises:
        UserError: If one of these fails there.
    """
    place = next(path for path in (logdir, *logdir.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".selftest-", dir=place) as folder:
            _exercise(Path(folder))
    except OSError as error:
        raise UserError(
            f"{place} cannot hold a run ({error}); choose another --logdir, on a local disk if "
            "this is a network file system"
        ) from error
    free = shutil.disk_usage(place).free
    if free < LEAST_SPACE:
        raise UserError(
            f"{place} has {free / 2**30:.2f} GiB left; free some, or choose another --logdir"
        )
    return f"{place.absolute()} has {free / 2**30:,.0f} GiB left; flush, rename and lock work"


def _exercise(folder: Path) -> None:
    """Do what checkpoints and the lock of a run need.

    Raises:
        OSError: If the file system does not.
    """
    with open(folder / "written", "wb") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    (folder / "old").mkdir()
    os.replace(folder / "written", folder / "old" / "renamed")
    (folder / "old").rename(folder / "new")
    if (folder / "new" / "renamed").stat().st_size != 1 << 20:
        raise OSError("a renamed file has lost its content")
    descriptor = os.open(folder / "new", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with open(folder / "lock", "w") as one, open(folder / "lock") as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise OSError("two holders got one lock: two runs could write to one directory")


def check_rendering() -> str:
    """Return which OpenGL draws the pictures of dm_control.

    Raises:
        UserError: If none does.
        Skipped: If dm_control is not installed.
    """
    if importlib.util.find_spec("dm_control") is None:
        raise Skipped("dm_control is not installed (extra dmc); nothing else needs OpenGL")
    from dreamer_jax.envs.registry import make_env
    from dreamer_jax.envs.suites.opengl import enable_rendering

    env = make_env("dmc:cartpole_balance")
    try:
        enable_rendering()
        env.reset(0)
        picture = env.render()
    finally:
        env.close()
    if picture is None or picture.min() == picture.max():
        raise UserError("dm_control draws an empty picture; try MUJOCO_GL=egl or MUJOCO_GL=osmesa")
    import dm_control._render as renderer

    return f"dm_control draws with {renderer.BACKEND}"


def check_video() -> str:
    """Return the size of a video that was written.

    Raises:
        Skipped: If no package for it is installed.
    """
    from dreamer_jax.runtime.showing.media import MissingPackage, write_video

    frames = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        try:
            write_video(path, frames, 15)
        except MissingPackage as error:
            raise Skipped(str(error)) from error
        return f"{path.stat().st_size} bytes for 5 frames"


def check_training() -> str:
    """Return what a tiny run came to: acted, trained, saved, loaded and acted again.

    Raises:
        UserError: If an update was not finite.
    """
    import dreamer_jax
    from dreamer_jax.runtime.showing.metrics import read_rows

    config = load_config("debug")
    config.update_from_flattened_dict(_TINY)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        root = Path(folder)
        dreamer_jax.run_training(config, root)
        player = dreamer_jax.load(root)
        spaces = player.spaces.obs
        player.act({key: np.zeros(space.shape, space.dtype) for key, space in spaces.items()})
        rows = list(read_rows(root / "metrics.jsonl"))
    losses = [row["train/loss/total"] for row in rows if "train/loss/total" in row]
    if not losses or None in losses or any(row["train/skipped"] for row in rows):
        raise UserError(f"a tiny agent has the losses {losses}; its updates are not finite")
    return f"{rows[-1]['grad_steps']} updates, loss {losses[0]:.1f} to {losses[-1]:.1f}"
