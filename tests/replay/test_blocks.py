"""Damaged, missing and foreign block files are named, never loaded."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamer_jax.replay import CorruptReplayError

from .conftest import (
    Feed,
    Make,
    write,
)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.write_bytes(b"GIF89a" + path.read_bytes())


def neighbour(path: Path) -> None:
    shutil.copy(next(p for p in sorted(path.parent.glob("*records*")) if p != path), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated or damaged"),
        (empty, "is not a replay block"),
        (flip, "truncated or damaged"),
        (foreign, "is not a replay block"),
        (neighbour, "holds .* expected"),
        (Path.unlink, "is missing"),
    ],
)
def test_damaged_block_is_named_and_the_replay_stays_empty(
    make_replay: Make,
    feed: Feed,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    replay = make_replay()
    feed(replay, 20)
    manifest = write(replay, tmp_path)
    path = next(iter(sorted(tmp_path.glob("stream001-records-*"))))
    damage(path)
    other = make_replay()
    with pytest.raises(CorruptReplayError, match=f"{path.name}.*{message}"):
        other.restore(tmp_path, manifest)
    assert other.size == other.windows == 0


def test_block_of_another_run_is_told_by_its_checksum(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    manifests = []
    for run, resets in (("one", (3,)), ("two", (4,))):
        replay = make_replay()
        feed(replay, 20, resets)
        manifests.append(write(replay, tmp_path / run))
    entry, swapped = manifests[0]["blocks"][0], manifests[1]["blocks"][0]
    shutil.copy(tmp_path / "two" / swapped["file"], tmp_path / "one" / entry["file"])
    with pytest.raises(CorruptReplayError, match="with checksum"):
        make_replay().restore(tmp_path / "one", manifests[0])


def test_block_in_another_place_is_told_by_its_header(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 7)
    manifest = write(replay, tmp_path)
    manifest["blocks"][0]["stream"], manifest["blocks"][1]["stream"] = 1, 0
    with pytest.raises(CorruptReplayError, match=r"holds .*'stream': 0.* expected .*'stream': 1"):
        make_replay().restore(tmp_path, manifest)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_manifest_with_a_gap_is_refused(
    make_replay: Make, feed: Feed, tmp_path: Path, position: int
) -> None:
    replay = make_replay()
    feed(replay, 20)
    manifest = write(replay, tmp_path)
    del manifest["blocks"][position]
    with pytest.raises(CorruptReplayError, match=f"names no block for records from {7 * position}"):
        make_replay().restore(tmp_path, manifest)
