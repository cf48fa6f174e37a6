"""Restoring onto another number of streams, or another capacity."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import STREAM_STRIDE, Feed, Make, alter_latents, assert_same, content, write


@pytest.mark.parametrize("streams", [1, 2, 5, 7])
def test_streams_are_dealt_anew(
    make_replay: Make, feed: Feed, tmp_path: Path, streams: int
) -> None:
    """Old stream k goes to stream k mod `streams`; a seam in it is a reset."""
    old = make_replay(streams=5, capacity=5 * 17, online=True)
    feed(old, 29, resets=(15,))  # live 12 … 28
    old.sample()
    waiting = old.state()["queue"]
    manifest = write(old, tmp_path)
    capacity = streams * 17 * -(-5 // streams)
    new = make_replay(streams=streams, capacity=capacity)
    new.restore(tmp_path, manifest)
    assert new.size == old.size
    for stream in range(streams):
        dealt = range(stream, 5, streams)
        expected = [k * STREAM_STRIDE + i for k in dealt for i in range(12, 29)]
        got = content(new, stream)
        np.testing.assert_array_equal(got["step"], expected)
        seams = {17 * n for n in range(1, len(dealt))} if streams != 5 else set()
        resets = {17 * n + 3 for n in range(len(dealt))}
        assert set(np.flatnonzero(got["is_first"])) == seams | resets
        np.testing.assert_array_equal(got["stoch"][:, 0], np.array(expected, int) % 241)
    # The online windows that waited still come first, and are the same experience.
    served = np.concatenate([new.sample().data["step"][:, 0] for _ in range(len(waiting))])
    alive = [k * STREAM_STRIDE + i for k, i in waiting if i >= 12]
    np.testing.assert_array_equal(served[: len(alive)], alive)
    again = make_replay(streams=streams, capacity=capacity)
    again.restore(tmp_path, write(new, tmp_path))
    assert_same(new, again)


@pytest.mark.parametrize(("streams", "capacity"), [(3, 3 * 17), (3, 3 * 41), (2, 2 * 19)])
def test_newest_records_stay_in_another_capacity(
    make_replay: Make, feed: Feed, tmp_path: Path, streams: int, capacity: int
) -> None:
    """Blocks are listed in order of writing: an old one may come last and must not overwrite."""
    old = make_replay()
    feed(old, 31)
    write(old, tmp_path)
    alter_latents(old, 0, 9, 242)
    new = make_replay(streams=streams, capacity=capacity)
    new.restore(tmp_path, write(old, tmp_path))
    for stream in range(streams):
        dealt = range(stream, 3, streams)
        step = np.array([k * STREAM_STRIDE + i for k in dealt for i in range(8, 31)])
        stoch = np.where((step >= 9) & (step < 14), 242, step % 241)
        got = content(new, stream)
        np.testing.assert_array_equal(got["step"], step[-capacity // streams :])
        np.testing.assert_array_equal(got["stoch"][:, 0], stoch[-capacity // streams :])
    feed(new, 5)
    for _ in range(20):
        new.sample()


def test_unequal_streams_keep_their_own_write_heads(
    make_replay: Make, feed: Feed, tmp_path: Path
) -> None:
    """After dealing anew the streams differ in length; one common slot would tear them."""
    old = make_replay(online=False)
    feed(old, 23)
    new = make_replay(streams=2, capacity=2 * 53, online=False)
    new.restore(tmp_path, write(old, tmp_path))
    assert new.state()["count"] == [46, 23]
    feed(new, 20, resets=(46, 23))
    assert new.state()["count"] == [66, 43]
    for _ in range(200):
        batch = new.sample()
        jumps = np.diff(batch.data["step"], axis=1) != 1
        assert (batch.data["is_first"][:, 1:] | ~jumps).all()
        np.testing.assert_array_equal(batch.data["is_first"][:, 1:], batch.data["is_last"][:, :-1])
