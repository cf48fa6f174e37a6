"""One run per directory, and no lock outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving.lock import RunLock

_HOLD = (
    "import pathlib, sys\n"
    "from dreamer_jax.runtime.saving.lock import RunLock\n"
    "lock = RunLock(pathlib.Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


def test_second_run_is_refused_with_directory_and_holder(tmp_path):
    with RunLock(tmp_path / "run"):
        with pytest.raises(UserError, match=rf"{tmp_path}/run is in use .*pid {os.getpid()} on"):
            RunLock(tmp_path / "run")
    with RunLock(tmp_path / "other"):
        pass


def test_release_lets_the_next_run_in(tmp_path):
    first = RunLock(tmp_path)
    with pytest.raises(UserError, match="another run"):
        RunLock(tmp_path)
    first.release()
    first.release()
    with RunLock(tmp_path):
        assert f"pid {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_lock_of_another_process_ends_with_it_however_it_ends(tmp_path):
    """A killed run leaves its file behind; that must not keep the resume out."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"pid {holder.pid} on"):
            RunLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (tmp_path / ".lock").exists()
    with RunLock(tmp_path), pytest.raises(UserError, match=rf"\(pid {os.getpid()} on \S+\)"):
        RunLock(tmp_path)
