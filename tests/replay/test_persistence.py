"""Snapshots on disk: exactness, sharing of blocks, failed writes, garbage."""

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.errors import UserError
from dreamer_jax.replay import CorruptReplayError, Replay, collect_garbage, persistence
from dreamer_jax.types import Space

from .conftest import (
    COLUMNS,
    DETER,
    LATENTS,
    Feed,
    Make,
    Manifest,
    alter_latents,
    assert_same,
    write,
)


def names(manifest: Manifest) -> set[str]:
    return {entry["file"] for entry in manifest["blocks"]}


def on_disk(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("records", [3, 14, 23, 31, 100])
def test_restored_replay_is_identical_and_samples_alike(
    make_replay: Make, feed: Feed, tmp_path: Path, records: int
) -> None:
    replay = make_replay(recency=0.5, seed=5)
    feed(replay, records, resets=(0, 9, 20, 27))
    if replay.can_sample:
        replay.sample()
        alter_latents(replay, 2, records - 6, 77)
    other = make_replay(recency=0.5, seed=6)
    other.restore(tmp_path, write(replay, tmp_path))
    assert_same(replay, other)
    for both in (replay, other):
        feed(both, 13)
    for _ in range(5):
        one, two = replay.sample(), other.sample()
        for key, values in one.data.items():
            np.testing.assert_array_equal(values, two.data[key])
        assert one.latents is not None and two.latents is not None
        for key in LATENTS:
            np.testing.assert_array_equal(one.latents[key], two.latents[key])
    assert_same(replay, other)


def test_snapshot_shows_the_moment_it_was_taken(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    """The write runs in a thread while the run goes on; it must not see what comes later."""
    replay, twin = make_replay(), make_replay()
    for both in (replay, twin):
        feed(both, 20)
    snapshot = replay.snapshot()
    feed(replay, 23)
    alter_latents(replay, 0, 30, 88)
    manifests: list[Manifest] = []
    thread = threading.Thread(target=lambda: manifests.append(snapshot.write(tmp_path)))
    thread.start()
    thread.join()
    restored = make_replay()
    restored.restore(tmp_path, manifests[0])
    assert_same(restored, twin)


def test_snapshot_holds_only_new_and_changed_blocks(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()  # blocks of 7
    feed(replay, 18)  # per stream 0-6, 7-13, and 14-17 partial
    first = write(replay, tmp_path)
    assert len(names(first)) == 3 * 2 * 3
    assert replay.snapshot().nbytes == 0
    assert names(write(replay, tmp_path)) == names(first)
    alter_latents(replay, 1, 3, 99)  # records 3 … 7: blocks 0 and 1
    second = write(replay, tmp_path)
    assert {name.rsplit("-", 1)[0] for name in names(second) - names(first)} == {
        "stream001-latents-000000000000-7",
        "stream001-latents-000000000007-7",
    }
    feed(replay, 3)  # the partial block is complete
    snapshot = replay.snapshot()
    assert snapshot.nbytes == 3 * 7 * (16 + 13)
    third = snapshot.write(tmp_path)
    assert {name.rsplit("-", 1)[0] for name in names(third) - names(second)} == {
        f"stream{stream:03d}-{family}-000000000014-7"
        for stream in range(3)
        for family in ("records", "latents")
    }


def test_partly_overwritten_block_is_not_written_again(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 21)
    first = write(replay, tmp_path)
    feed(replay, 7)  # 5 is the oldest record, in the middle of block 0
    second = write(replay, tmp_path)
    assert names(first) < names(second)
    other = make_replay()
    other.restore(tmp_path, second)
    assert_same(replay, other)


def test_restored_replay_goes_on_sharing_blocks(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 21)
    first = write(replay, tmp_path)
    other = make_replay()
    other.restore(tmp_path, first)
    assert other.snapshot().nbytes == 0
    feed(other, 7)
    assert len(names(write(other, tmp_path)) - names(first)) == 2 * 3


def test_two_futures_of_one_snapshot_share_a_directory(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    """A run resumed from an older checkpoint must not write into the newer one's blocks."""
    replay = make_replay()
    feed(replay, 10)
    past = write(replay, tmp_path)
    feed(replay, 4, resets=(11,))
    one = write(replay, tmp_path)
    fork = make_replay()
    fork.restore(tmp_path, past)
    feed(fork, 4, resets=(12,))
    two = write(fork, tmp_path)
    for original, manifest in ((replay, one), (fork, two)):
        loaded = make_replay()
        loaded.restore(tmp_path, manifest)
        assert_same(original, loaded)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failed_write_leaves_blocks_for_the_next_snapshot(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 10)
    first = write(replay, tmp_path)
    feed(replay, 10)
    alter_latents(replay, 1, 3, 99)
    snapshot = replay.snapshot()
    with file_size_limit(100), pytest.raises(OSError, match="File too large"):
        snapshot.write(tmp_path)
    assert on_disk(tmp_path) >= names(first)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    before = make_replay()
    before.restore(tmp_path, first)  # the older snapshot is whole
    assert replay.snapshot().nbytes == snapshot.nbytes
    other = make_replay()
    other.restore(tmp_path, write(replay, tmp_path))
    assert_same(replay, other)


def test_partly_failed_write_counts_no_block_as_written(
    make_replay: Make, feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of a failed snapshot are garbage: a manifest naming them would soon name nothing."""
    replay = make_replay()
    feed(replay, 20)
    original, calls = persistence.blocks.write_durably, []

    def fail_at_fourth(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        original(path, data)

    monkeypatch.setattr(persistence.blocks, "write_durably", fail_at_fourth)
    with pytest.raises(OSError, match="No space left"):
        replay.snapshot().write(tmp_path)
    assert replay.snapshot().nbytes == 3 * 20 * (16 + 13)
    assert len(collect_garbage(tmp_path, [])) == 3
    other = make_replay()
    other.restore(tmp_path, write(replay, tmp_path))
    assert_same(replay, other)


def test_deleted_blocks_are_written_again(make_replay: Make, feed: Feed, tmp_path: Path) -> None:
    """A snapshot whose checkpoint failed elsewhere is collected, though its write succeeded."""
    replay = make_replay()
    feed(replay, 20)
    lost = write(replay, tmp_path)
    early = replay.snapshot()
    assert set(collect_garbage(tmp_path, [])) == names(lost)
    with pytest.raises(CorruptReplayError, match="is missing"):
        early.write(tmp_path)
    other = make_replay()
    other.restore(tmp_path, write(replay, tmp_path))
    assert_same(replay, other)


def test_another_directory_gets_a_whole_snapshot_at_the_second_try(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 20)
    write(replay, tmp_path / "one")
    with pytest.raises(CorruptReplayError, match=r"two.* is missing"):
        replay.snapshot().write(tmp_path / "two")
    other = make_replay()
    other.restore(tmp_path / "two", write(replay, tmp_path / "two"))
    assert_same(replay, other)


def test_garbage_is_what_no_kept_manifest_names(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    manifests = []
    for step in range(4):
        feed(replay, 9)
        alter_latents(replay, 0, 9 * step, step)
        manifests.append(write(replay, tmp_path))
    for name in ("notes.txt", "notes.blk.md", "mine.blk"):
        (tmp_path / name).touch()
    (tmp_path / ".stream000-records-000000000000-7-0123.blk.77-88.tmp").touch()
    kept = [manifests[1], manifests[3]]
    collect_garbage(tmp_path, kept)
    foreign = {"notes.txt", "notes.blk.md", "mine.blk"}
    assert on_disk(tmp_path) == names(kept[0]) | names(kept[1]) | foreign
    for manifest in kept:
        make_replay().restore(tmp_path, manifest)


def test_other_columns_and_formats_are_refused(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    replay = make_replay()
    feed(replay, 20)
    manifest = write(replay, tmp_path)
    wider = LATENTS | {"deter": Space(DETER.dtype, (7,))}
    other = Replay(COLUMNS, wider, capacity=69, streams=3, batch_size=2, length=5)
    text = r"deter is \['bfloat16', \[5\]\] there and \['bfloat16', \[7\]\] here"
    with pytest.raises(UserError, match=text):
        other.restore(tmp_path, manifest)
    with pytest.raises(UserError, match="has format 2, this version reads 1"):
        make_replay().restore(tmp_path, manifest | {"format": 2})
    with pytest.raises(ValueError, match="needs an empty replay, this one holds 60 records"):
        replay.restore(tmp_path, manifest)
