"""A file written whole is there whole or not at all, and on the disk before its name counts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dreamer_jax.files import replacing
from dreamer_jax.replay.blocks import write_durably
from dreamer_jax.runtime.saving.arrays import write_arrays
from dreamer_jax.runtime.saving.checkpoint_files import write_json
from dreamer_jax.runtime.showing.metrics import JsonlOutput


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed and renamed, in order: `file`, `rename`, `folder`."""
    seen: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        seen.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    return seen


def write_text(path: Path) -> None:
    with replacing(path) as temp:
        temp.write_text("new")


def write_metrics(path: Path) -> None:
    path.write_text('{"grad_steps": 1}\n')
    JsonlOutput(path, {"grad_steps": 3}).close()


@pytest.mark.parametrize(
    ("write", "order"),
    [
        (write_text, ["file", "rename", "folder"]),
        (write_metrics, ["file", "rename", "folder"]),
        (lambda path: write_json(path, {}), ["file", "rename"]),
        (lambda path: write_arrays(path, {}), ["file", "rename"]),
        (lambda path: write_durably(path, b"x"), ["file", "rename"]),
    ],
    ids=["any", "metrics", "json", "arrays", "block"],
)
def test_content_reaches_the_disk_before_its_name(calls, tmp_path, write, order):
    """A power cut left the new name of a picture or a table with nothing under it.

    Where many files become one (checkpoints, snapshots) their folder is flushed once, at the end.
    """
    write(tmp_path / "file")
    assert calls == order
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temp:
        temp.write_text("new")
        raise KeyError("a fault while writing")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "file")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"
