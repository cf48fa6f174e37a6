"""Checkpoints whose checksums are right and whose files are small, but not what they unpack to."""

from __future__ import annotations

import json
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.runtime.saving import checkpoint_files
from dreamer_jax.runtime.saving.checkpoint import Checkpointer
from dreamer_jax.runtime.saving.checkpoint_files import write_manifest

MIB = 2**20
ARRAYS = {"state/w": np.zeros((2, 3), np.float32), "other/x": np.ones(16 * MIB, np.uint8)}
EXPECTED = {"state/w": ((2, 3), np.float32)}


@pytest.fixture
def spoil(tmp_path: Path) -> Callable[[Callable[[Path], None]], Checkpointer]:
    """Return a function that spoils the newer of two checkpoints and signs it anew."""

    def change(spoiler: Callable[[Path], None]) -> Checkpointer:
        saver = Checkpointer(tmp_path, keep=2, warn=said.append)
        for step in (3, 5):
            saver.save(step, ARRAYS, {"bytes": b"xyz" * 9999, "step": step})
            saver.wait()
            assert saver.last_error is None
        newest = tmp_path / f"{5:012d}"
        spoiler(newest)
        (newest / "manifest.json").unlink()
        write_manifest(newest)
        return saver

    said: list[str] = []
    return change


def zip_bomb(name: str) -> Callable[[Path], None]:
    """Replace the arrays of a file by zeros that are a thousandth of their size on the disk."""

    def bomb(folder: Path) -> None:
        with np.load(folder / name) as archive:
            names = [each for each in archive.files if each != "dtypes.json"]
        np.savez_compressed(folder / name, **{each: np.zeros(2**26, np.uint8) for each in names})
        with zipfile.ZipFile(folder / name, "a") as archive:
            archive.writestr("dtypes.json", "{}")
        assert (folder / name).stat().st_size < MIB

    return bomb


def many_mentions(folder: Path) -> None:
    """Name one array in 1,999 places, as bytes, which are copied."""
    mentions = [{"__bytes__": "0"}] * 1999
    (folder / "host.json").write_text(json.dumps({"step": 5, "x": mentions}))


def unknown_members(folder: Path) -> None:
    """Add arrays that no state mentions."""
    with zipfile.ZipFile(folder / "host.npz", "a") as archive, archive.open("y.npy", "w") as file:
        np.lib.format.write_array(file, np.zeros(64 * MIB, np.uint8))


@pytest.mark.parametrize("spoiler", [zip_bomb("arrays.npz"), zip_bomb("host.npz"), many_mentions])
def test_small_file_does_not_become_large_in_memory(spoil, spoiler):
    """A checkpoint of 5 MB took 3.3 GiB when it was loaded, and was the newest whole one."""
    saver = spoil(spoiler)
    assert peak(saver.load, 3) < 40 * MIB


def test_what_the_host_state_does_not_name_is_not_read(spoil):
    saver = spoil(unknown_members)
    assert peak(saver.load, 5) < 60 * MIB


def test_what_nobody_expects_is_not_read(spoil):
    saver = spoil(lambda _: None)
    assert peak(lambda: saver.load(expected=EXPECTED), 5) < 8 * MIB
    assert list(saver.load(expected=EXPECTED).arrays) == ["state/w"]


def peak(load: Callable[[], object], step: int) -> int:
    """Return the most memory that loading took; the checkpoint is that of `step`."""
    tracemalloc.start()
    try:
        found = load()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert found.step == step


def test_arrays_of_another_agent_are_told_before_they_are_read(spoil):
    saver = spoil(lambda _: None)
    for expected, message in (
        ({"state/w": ((3, 2), np.float32)}, r"is float32\[2, 3\] in the checkpoint but float32"),
        ({**EXPECTED, "state/b": ((3,), np.float32)}, "the checkpoint lacks 'state/b'"),
        ({"state/v": ((2, 3), np.float32)}, "the checkpoint lacks 'state/v'"),
        ({**EXPECTED, "other/y": ((1,), np.uint8)}, "holds 'other/x', which this agent lacks"),
    ):
        with pytest.raises(UserError, match=message):
            saver.load(expected=expected)


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("TEXT_BYTES", 999, "host.json has 1,0.. bytes, more than 999"),
        ("HOST_ARRAY_BYTES", 14, r"holds uint8\[15\], more than 14 bytes"),
    ],
)
def test_bounds_of_the_host_state_hold_for_saving_and_loading(
    monkeypatch, tmp_path, name, limit, message
):
    """What was saved can be loaded: a state that is too large fails when it is saved."""
    said: list[str] = []
    saver = Checkpointer(tmp_path, keep=2, warn=said.append)
    state = {"bytes": b"x" * 15, "text": "y" * 1000}
    for step in (3, 5):
        saver.save(step, {}, state)
        saver.wait()
        monkeypatch.setattr(checkpoint_files, name, limit)
    assert isinstance(saver.last_error, ValueError) and saver.history() == [3]
    assert saver.load() is None
    assert re.search(message, said[0]) and said[1].startswith("skipped checkpoint")
