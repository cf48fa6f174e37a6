"""Streams of several processes, dealt to another number of processes."""

from pathlib import Path

import numpy as np
import pytest

from dreamer_jax.replay.dealing import owned, restore_dealt, write_back_dealt

from .conftest import STREAM_STRIDE, Feed, Make, content, equal_latents, write


def test_streams_are_numbered_over_all_parts():
    assert owned([2, 3], 0, 5) == [{0: 0, 1: 1}, {0: 2, 1: 3, 2: 4}]
    assert owned([2, 3], 1, 2) == [{1: 0}, {0: 1}]
    assert owned([2, 3], 4, 1) == [{}, {2: 0}]


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_every_stream_arrives_once_and_whole(
    make_replay: Make, feed: Feed, tmp_path: Path, streams: int
) -> None:
    """Two processes of two streams become one, two or four processes."""
    parts, pending = [], []
    for process, steps in enumerate((31, 26)):
        replay = make_replay(streams=2, capacity=2 * 17, seed=process)
        feed(replay, steps)
        folder = tmp_path / str(process)
        parts.append((folder, write(replay, folder)))
        window = replay.sample()
        latents = equal_latents(replay, len(window.slots.stream), process + 3)
        pending.append({"slots": list(window.slots), "latents": latents})
    counts, seen = [2, 2], []
    for process in range(4 // streams):
        new = make_replay(streams=streams, capacity=streams * 17)
        restore_dealt(new, parts, process * streams, streams)
        picks = owned(counts, process * streams, streams)
        write_back_dealt(new, pending, picks)
        for old, pick in enumerate(picks):
            steps = (31, 26)[old]
            for mine, own in pick.items():
                got = content(new, own)
                expected = mine * STREAM_STRIDE + np.arange(steps - 17, steps)
                np.testing.assert_array_equal(got["step"], expected)
                seen.append((old, mine))
                rows = np.array(pending[old]["slots"][0]) == mine
                altered = (got["stoch"][:, 0] == old + 3).sum()
                assert (altered > 0) == bool(rows.any())
        feed(new, 5)
        new.sample()
    assert sorted(seen) == [(0, 0), (0, 1), (1, 0), (1, 1)]
