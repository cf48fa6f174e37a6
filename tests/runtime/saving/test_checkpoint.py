"""Checkpoints: whole or absent, newest whole one wins, a failed save costs nothing but itself."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving import checkpoint
from dreamer_jax.runtime.saving.checkpoint import Checkpointer, match_tree


def _arrays(value: float = 0.0) -> dict[str, np.ndarray]:
    return {
        "params/actor/kernel": np.full((3, 5), value, np.float32),
        "latent/deter": np.full(7, value, ml_dtypes.bfloat16),
    }


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path, messages):
    def build(keep: int = 3, collect_garbage=None) -> Checkpointer:
        return Checkpointer(tmp_path / "checkpoints", keep, collect_garbage, messages.append)

    return build


def _save(saver: Checkpointer, step: int, **host) -> None:
    saver.save(step, _arrays(step), {"counter": step, **host})
    saver.wait()
    assert saver.last_error is None


def test_load_returns_what_was_saved(make, messages):
    saver = make()
    host = {"envs": [{"state": b"xyz"}], "rng": np.random.default_rng(3).bit_generator.state}
    saver.save(
        13, _arrays(1.5), host, before_commit=lambda: {"blocks": ["a"], "seen": np.arange(3)}
    )
    saver.wait()
    arrays, loaded, step, replaced = make().load()
    assert not replaced
    assert step == 13
    assert arrays["params/actor/kernel"].tolist() == np.full((3, 5), 1.5).tolist()
    assert arrays["latent/deter"].dtype == ml_dtypes.bfloat16
    replay = loaded.pop("replay")
    assert loaded == host
    assert replay["blocks"] == ["a"] and replay["seen"].tolist() == [0, 1, 2]
    assert messages == []


def test_nothing_to_load_is_none_and_leaves_no_folder(make, tmp_path):
    assert make().load() is None
    assert make().history() == []
    assert list(tmp_path.iterdir()) == []


def test_history_is_newest_first_and_old_ones_go(make):
    saver = make(keep=2)
    for step in (3, 5, 7, 11):
        _save(saver, step)
    assert saver.history() == [11, 7]
    assert saver.load(7).host["counter"] == 7


def test_asking_for_a_missing_step_names_those_there(make):
    saver = make()
    _save(saver, 3)
    _save(saver, 5)
    with pytest.raises(UserError, match=r"step 4 .* there are: 5, 3"):
        saver.load(4)


def _truncate_arrays(folder):
    os.truncate(folder / "arrays.npz", (folder / "arrays.npz").stat().st_size // 2)


def _flip_one_bit(folder):
    data = bytearray((folder / "arrays.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(data)


def _edit_host(folder):
    (folder / "host.json").write_text('{"counter": 999}')


def _drop(name):
    return lambda folder: (folder / name).unlink()


def _garble_manifest(folder):
    (folder / "manifest.json").write_text("{")


def _foreign_manifest(folder):
    (folder / "manifest.json").write_text("[1]")


def _other_format(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 999}))


@pytest.mark.parametrize(
    "damage",
    [
        _truncate_arrays,
        _flip_one_bit,
        _edit_host,
        _drop("host.npz"),
        _drop("manifest.json"),
        _garble_manifest,
        _foreign_manifest,
        _other_format,
    ],
)
def test_damaged_checkpoint_is_skipped_aloud(make, messages, tmp_path, damage):
    saver = make()
    _save(saver, 3)
    _save(saver, 5)
    damage(tmp_path / "checkpoints" / f"{5:012d}")
    assert make().load().step == 3
    assert len(messages) == 1 and "skipped" in messages[0] and f"{5:012d}" in messages[0]
    with pytest.raises(UserError, match="no whole checkpoint of step 5"):
        make().load(5)


def test_save_returns_at_once_and_a_second_one_waits(make):
    saver, release, order = make(), threading.Event(), []

    def slow() -> dict:
        release.wait(30)
        order.append("first committed")
        return {}

    saver.save(3, _arrays(), {}, before_commit=slow)
    assert saver.history() == []  # still under way, and we are here
    second = threading.Thread(target=lambda: (saver.save(5, _arrays(), {}), order.append("second")))
    second.start()
    second.join(0.05)
    assert order == []
    release.set()
    second.join()
    saver.wait()
    assert order == ["first committed", "second"]
    assert saver.history() == [5, 3]


def test_abandoned_save_is_not_waited_for(make):
    """A second Ctrl-C waited for minutes where the replay was large."""
    saver, release = make(), threading.Event()
    saver.save(3, _arrays(), {}, before_commit=lambda: {"ok": release.wait(30)})
    thread = saver._thread
    saver.abandon()
    saver.wait()
    assert saver.history() == []
    release.set()
    thread.join()
    assert saver.load().step == 3  # where the process lives on, so does the save


def test_host_state_is_that_of_the_call_not_of_the_commit(make):
    """Counters and rings change while the thread writes; the checkpoint must be one moment."""
    saver, release = make(), threading.Event()
    host = {"count": 1, "ring": np.zeros(3)}
    saver.save(3, _arrays(), host, before_commit=lambda: {"ok": release.wait(30)})
    host["count"] = 2
    host["ring"][:] = 1
    release.set()
    saver.wait()
    loaded = saver.load().host
    assert loaded["count"] == 1 and loaded["ring"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("failing_call", [1, 2, 3, 4, 5, 6])
def test_full_disk_costs_only_that_save(make, messages, tmp_path, monkeypatch, failing_call):
    """A full disk may strike at any of the six flushes; the last good checkpoint must stay."""
    saver = make(keep=1)
    _save(saver, 3)
    calls, real = [], os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    saver.save(5, _arrays(5), {"counter": 5})
    saver.wait()
    monkeypatch.undo()
    assert saver.last_error.errno == errno.ENOSPC
    assert "checkpoint 5 was not saved" in messages[0] and "No space left" in messages[0]
    assert not list((tmp_path / "checkpoints").glob(".tmp-*"))
    # Only the flush of the directory comes after the rename; then both are there.
    assert saver.history() == ([5, 3] if failing_call == 6 else [3])
    assert saver.load().host["counter"] == saver.history()[0]
    _save(saver, 7)
    assert saver.history() == [7]


def test_failing_replay_writer_costs_only_that_save(make, messages):
    saver = make()
    _save(saver, 3)
    saver.save(5, _arrays(), {}, before_commit=lambda: 1 / 0)
    saver.wait()
    assert isinstance(saver.last_error, ZeroDivisionError) and "ZeroDivisionError" in messages[0]
    assert saver.history() == [3]


def test_state_that_cannot_be_encoded_is_a_fault_at_once(make):
    with pytest.raises(TypeError, match="env"):
        make().save(3, _arrays(), {"env": object()})


def test_killed_save_leaves_the_older_checkpoint_and_its_rest_is_swept(make, tmp_path):
    """A process that dies inside a save leaves a temporary folder, never a checkpoint."""
    _save(make(), 3)
    program = (
        "import os, sys, pathlib, numpy as np\n"
        "from dreamer_jax.runtime.saving.checkpoint import Checkpointer\n"
        "saver = Checkpointer(pathlib.Path(sys.argv[1]), 3)\n"
        "def die():\n"
        "    pathlib.Path(sys.argv[1], '.trash-000000000001').mkdir()\n"
        "    os._exit(9)\n"
        "saver.save(5, {'x': np.zeros(3)}, {}, before_commit=die)\n"
        "saver.wait()\n"
    )
    folder = tmp_path / "checkpoints"
    assert subprocess.run([sys.executable, "-c", program, folder], check=False).returncode == 9
    assert len(list(folder.glob(".tmp-*"))) == 1
    reader = make()
    assert reader.history() == [3] and reader.load().step == 3
    assert len(list(folder.iterdir())) == 3  # reading sweeps nothing: a run may be writing there
    _save(make(), 7)
    assert sorted(path.name for path in folder.iterdir()) == [f"{3:012d}", f"{7:012d}"]


def test_old_checkpoints_go_only_after_the_newer_one_is_whole(make, monkeypatch):
    saver = make(keep=1)
    _save(saver, 3)
    seen, real = [], Checkpointer._prune

    def watch(self: Checkpointer, step: int) -> None:
        seen.extend((self.history(), make().load().step))
        real(self, step)

    monkeypatch.setattr(Checkpointer, "_prune", watch)
    _save(saver, 5)
    assert seen == [[5, 3], 5]
    assert saver.history() == [5]


def test_garbage_is_collected_with_the_states_that_are_kept(make):
    seen = []
    saver = make(keep=2, collect_garbage=seen.append)
    for step in (3, 5, 7):
        saver.save(step, _arrays(), {}, before_commit=lambda step=step: {"blocks": [step]})
        saver.wait()
    assert [[host["replay"]["blocks"] for host in hosts] for hosts in seen] == [
        [[3]],
        [[5], [3]],
        [[7], [5]],
    ]


def test_garbage_stays_while_a_kept_state_cannot_be_read(make, messages, tmp_path):
    """Blocks of a checkpoint that is unreadable for a moment must not be deleted."""
    seen = []
    saver = make(keep=2, collect_garbage=seen.append)
    _save(saver, 3)
    (tmp_path / "checkpoints" / f"{3:012d}" / "host.json").unlink()
    saver.save(5, _arrays(), {})
    saver.wait()
    assert len(seen) == 1
    assert "checkpoint 5 was saved, but old ones were not cleaned up" in messages[0]
    assert saver.load().step == 5


def test_same_step_again_replaces_the_first(make):
    saver = make()
    _save(saver, 0, policy_steps=11)
    _save(saver, 0, policy_steps=13)
    assert saver.history() == [0]
    assert saver.load().host["policy_steps"] == 13


def test_failure_between_the_two_renames_of_a_replacement_loses_nothing(make, monkeypatch):
    """With keep=1 there is no older checkpoint to fall back on."""
    saver = make(keep=1)
    _save(saver, 3, policy_steps=11)
    real = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    saver.save(3, _arrays(), {"policy_steps": 13})
    saver.wait()
    assert saver.last_error is not None
    assert make().load().host["policy_steps"] == 11


def test_crash_while_replacing_a_step_loses_neither(make, tmp_path):
    """Between the two renames of a replacement the only checkpoint has another name."""
    saver = make(keep=1)
    _save(saver, 3, policy_steps=11)
    os.rename(tmp_path / "checkpoints" / f"{3:012d}", tmp_path / "checkpoints" / f".old-{3:012d}")
    assert make().history() == [3]
    assert make().load().host["policy_steps"] == 11
    _save(make(keep=1), 3, policy_steps=13)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"{3:012d}"]


def test_run_that_goes_on_from_before_a_damaged_checkpoint_keeps_its_new_one(make, tmp_path):
    """With keep=1 the damaged later folder used to outrank, and delete, the one just written."""
    saver = make(keep=2)
    _save(saver, 3)
    _save(saver, 7)
    _truncate_arrays(tmp_path / "checkpoints" / f"{7:012d}")
    resumed = make(keep=1)
    assert resumed.load().step == 3
    _save(resumed, 5)
    assert resumed.history() == [5]
    assert resumed.load().step == 5


def test_manifest_is_written_last(make, monkeypatch):
    present = []
    real = checkpoint.write_manifest
    monkeypatch.setattr(
        checkpoint,
        "write_manifest",
        lambda folder: (present.extend(sorted(p.name for p in folder.iterdir())), real(folder)),
    )
    _save(make(), 3)
    assert present == ["arrays.npz", "host.json", "host.npz"]


def test_keeping_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="keep"):
        Checkpointer(tmp_path, keep=0)


def test_match_tree_accepts_equal_trees():
    shapes = {name: (a.shape, a.dtype) for name, a in _arrays().items()}
    assert match_tree(shapes, _arrays()) is None  # it raises where they differ


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent/deter": None}, "lacks 'latent/deter'"),
        ({"extra": np.zeros(2)}, "holds 'extra'"),
        (
            {"latent/deter": np.zeros(7, np.float32)},
            r"float32\[7\] in the .* bfloat16\[7\] in this",
        ),
        ({"params/actor/kernel": np.zeros((5, 3), np.float32)}, r"float32\[5, 3\] in .*\[3, 5\]"),
    ],
)
def test_match_tree_names_the_first_difference(change, message):
    expected = {name: (a.shape, a.dtype) for name, a in _arrays().items()}
    arrays = {name: a for name, a in {**_arrays(), **change}.items() if a is not None}
    with pytest.raises(UserError, match=message):
        match_tree(expected, arrays)
