"""Damaged, missing and foreign block files are named, never loaded."""

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from dreamer_jax.replay import CorruptReplayError
from dreamer_jax.replay.blocks import FORMAT, MAGIC, Block, _digest, checksum, decode, encode, table
from dreamer_jax.types import Space

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


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated or damaged"),
        (empty, "is not a replay block"),
        (flip, "truncated or damaged"),
        (foreign, "is not a replay block"),
        (neighbour, "holds .* expected"),
        (Path.unlink, "is missing"),
        (folder, "cannot be read: .*Is a directory"),  # as any OSError, whoever runs this
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


SPACES = {"x": Space(np.dtype(np.float32), (2,))}
MIB = 2**20


def forged(frame: bytes, block: Block, spaces: Mapping[str, Space]) -> bytes:
    """Return a block file whose checksums are right, with any bytes for its columns."""
    header = {"format": FORMAT, **block._asdict(), "columns": table(spaces)}
    text = json.dumps(header).encode()
    body = b"".join([MAGIC, len(text).to_bytes(4, "little"), text, frame])
    return body + _digest(body)


def zeros(size: int, **options: Any) -> bytes:
    """Return a frame of zeros, with or without a word about its size."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, **options)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return b"".join([compressor.compress(bytes(size)), compressor.flush()])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (zeros(64 * MIB), "cannot be unpacked"),
        (zstandard.ZstdCompressor().compress(bytes(64 * MIB)), "it says that it holds 67108864"),
        (zstandard.ZstdCompressor().compress(bytes(31)), "it says that it holds 31 bytes"),
        (zeros(31), "does not hold 32 bytes"),
        (zeros(32, window_log=27), "cannot be unpacked"),
        (bytes(3 * MIB), "is longer than 1,048,608 bytes"),
        (b"", "cannot be unpacked"),
    ],
    ids=["bomb", "says so", "short", "silent", "window", "long", "empty"],
)
def test_block_takes_no_more_memory_than_its_records(tmp_path, frame, message):
    block = Block("records", 0, 0, 4)
    content = forged(frame, block, SPACES)
    (tmp_path / "b").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptReplayError, match=message):
            decode(tmp_path / "b", block, checksum(content), SPACES)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [2**40, 70])
def test_manifest_names_no_block_larger_than_the_ring(
    make_replay: Make, feed: Feed, tmp_path: Path, length: int
) -> None:
    """A block that called itself 2^40 records long ended the resume with a MemoryError."""
    replay = make_replay()
    feed(replay, 7)
    manifest = write(replay, tmp_path)
    manifest["block_length"] = 2**40
    manifest["state"]["count"][0] = length
    for family, ring in replay._families.items():
        block = Block(family, 0, 0, length)
        entry = next(e for e in manifest["blocks"] if (e["family"], e["stream"]) == (family, 0))
        content = forged(zeros(99), block, ring.spaces)
        (tmp_path / entry["file"]).write_bytes(content)
        entry |= {"length": length, "checksum": checksum(content)}
    other = make_replay()
    with pytest.raises(CorruptReplayError, match="it names the block"):
        other.restore(tmp_path, manifest)
    assert other.size == 0


def test_noise_is_not_too_long_for_its_size(tmp_path):
    block, spaces = Block("records", 0, 0, 9973), {"x": Space(np.dtype(np.uint8), (97,))}
    noise = {"x": np.random.default_rng(3).integers(0, 256, (9973, 97), np.uint8)}
    content = encode(block, spaces, noise)
    (tmp_path / "b").write_bytes(content)
    found = decode(tmp_path / "b", block, checksum(content), spaces)
    np.testing.assert_array_equal(found["x"], noise["x"])


@pytest.mark.timeout(15)
def test_manifest_of_many_streams_and_blocks_is_judged_at_once(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    """Each stream looked through all blocks: hours, for a manifest of some megabytes."""
    replay = make_replay()
    feed(replay, 7)
    manifest = write(replay, tmp_path)
    manifest["blocks"] *= 2000
    for counters, last in (("count", 6), ("oldest", 5), ("tile", 5)):
        manifest["state"][counters] += [5] * 9973 + [last]
    with pytest.raises(
        CorruptReplayError, match="names no block for records from 5 of stream 9976"
    ):
        make_replay().restore(tmp_path, manifest)
