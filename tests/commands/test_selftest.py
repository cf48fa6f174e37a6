"""Every check of the self-test passes here, and each is seen to fail for its own reason."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from dreamer_jax.__main__ import run
from dreamer_jax.commands import selftest
from dreamer_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("cheap_compile", "shared_programs")


def test_this_machine_can_train(tmp_path, capsys):
    pytest.importorskip("av")
    assert run(["selftest", f"--logdir={tmp_path / 'not' / 'yet'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[1] for line in lines[:-1]] == [
        *("device", "disk", "rendering", "video", "training"),
    ]
    assert all(line.startswith(("ok ", "skipped ")) for line in lines[:-1])
    assert f"{tmp_path} has " in lines[1] and "flush, rename and lock work" in lines[1]
    assert lines[4].startswith("ok       training: ") and " updates, loss " in lines[4]
    assert lines[-1] == "this machine can train"
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_is_named_and_hides_nothing(monkeypatch, capsys):
    def broken() -> str:
        raise RuntimeError("no\nway")

    for name in ("device", "disk", "rendering", "video", "training"):
        monkeypatch.setattr(selftest, f"check_{name}", lambda *_: "fine")
    monkeypatch.setattr(selftest, "check_video", broken)
    assert run(["selftest"]) == 1
    out = capsys.readouterr().out
    assert "FAILED   video: RuntimeError: no way\nok       training: fine\n" in out
    assert out.endswith("mend first: video\n")


def test_gpu_that_jax_does_not_use_is_told(tmp_path, monkeypatch):
    (tmp_path / "nvidiactl").write_text("")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(UserError, match=r"NVIDIA driver: pip install 'dreamer-jax\[cuda12\]'"):
        selftest.check_device(tmp_path / "nvidiactl")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # somebody wants it so
    assert "cpu" in selftest.check_device(tmp_path / "nvidiactl")


def _fail(*_: Any, **__: Any) -> None:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_file_system_that_cannot_hold_a_run_is_told(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, _fail)
    with pytest.raises(UserError, match=f"{tmp_path} cannot hold a run .*not supported"):
        selftest.check_disk(tmp_path)


def test_locks_that_do_not_exclude_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(UserError, match="two holders got one lock"):
        selftest.check_disk(tmp_path)


def test_full_disk_is_told(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40 - 2**28, 2**28))
    with pytest.raises(UserError, match=r"has 0\.25 GiB left"):
        selftest.check_disk(tmp_path)


def test_directory_that_cannot_be_written_is_told():
    with pytest.raises(UserError, match=r"/proc cannot hold a run"):
        selftest.check_disk(Path("/proc/no/such"))


def test_missing_packages_are_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(selftest.Skipped, match=r"dreamer-jax\[media\]"):
        selftest.check_video()
    monkeypatch.setattr(selftest.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(selftest.Skipped, match="dm_control is not installed"):
        selftest.check_rendering()


def test_empty_picture_is_told(monkeypatch):
    pytest.importorskip("dm_control")
    import numpy as np

    from dreamer_jax.envs.suites.dmc import DmControl

    monkeypatch.setattr(DmControl, "render", lambda _: np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(UserError, match="draws an empty picture"):
        selftest.check_rendering()


def test_training_that_is_not_finite_is_told(monkeypatch):
    import dreamer_jax.runtime.showing.metrics as metrics

    row = {"train/loss/total": None, "train/skipped": 3, "grad_steps": 3}
    monkeypatch.setattr(metrics, "read_rows", lambda _: [row])
    with pytest.raises(UserError, match="its updates are not finite"):
        selftest.check_training()
