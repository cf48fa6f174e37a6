"""Which windows exist and how they are drawn, on indices alone."""

import json
from typing import Any

import numpy as np
import pytest

from dreamer_jax.replay.sampling import Move, Windows, redeal


def make(
    streams: int = 3,
    capacity: int = 17,
    length: int = 5,
    online: bool = False,
    recency: float = 0.0,
    seed: int = 0,
) -> Windows:
    rng = np.random.default_rng(seed)
    return Windows(streams, capacity, length, online=online, recency=recency, rng=rng)


def advance(windows: Windows, times: int) -> None:
    for _ in range(times):
        windows.advance()


@pytest.mark.parametrize(
    ("records", "oldest", "starts"), [(4, 0, 0), (5, 0, 1), (17, 0, 13), (18, 1, 13), (26, 9, 13)]
)
def test_windows_by_hand(records: int, oldest: int, starts: int) -> None:
    windows = make()
    advance(windows, records)
    np.testing.assert_array_equal(windows.oldest, [oldest] * 3)
    np.testing.assert_array_equal(windows.starts, [starts] * 3)


def test_every_start_is_equally_likely() -> None:
    """Streams of unequal length too: a start, not a stream, is what is uniform."""
    windows = make()
    windows.load_state(windows.state() | {"count": [40, 9, 3], "oldest": [20, 2, 0]})
    expected = {(0, start) for start in range(23, 36)} | {(1, start) for start in range(2, 5)}
    draws = 32_000
    stream, start = windows.draw(draws)
    pairs, observed = np.unique(np.stack([stream, start]), axis=1, return_counts=True)
    assert {(int(s), int(i)) for s, i in pairs.T} == expected
    mean = draws / len(expected)
    chi_square = float(((observed - mean) ** 2 / mean).sum())
    assert chi_square < 37.7  # 99.9 % quantile for 15 degrees of freedom


@pytest.mark.parametrize("recency", [0.4, 1.0])
def test_recency_is_the_stated_mixture(recency: float) -> None:
    windows = make(streams=2, capacity=23, recency=recency)
    advance(windows, 30)
    draws = 40_000
    _, start = windows.draw(draws)
    starts = 19
    age = np.arange(1, starts + 1)
    recent = np.log((age + 1) / age) / np.log(starts + 1)
    assert recent.sum() == pytest.approx(1)
    expected = draws * (recency * recent + (1 - recency) / starts)
    newest = 25
    observed = np.bincount(newest + 1 - start, minlength=starts + 1)[1:]
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert chi_square < 42.3  # 99.9 % quantile for 18 degrees of freedom


def test_online_windows_come_once_first_and_in_order_of_completion() -> None:
    windows = make(online=True)
    advance(windows, 11)  # windows 0-4 and 5-9 are complete in each stream
    stream, start = windows.draw(4)
    np.testing.assert_array_equal(stream, [0, 1, 2, 0])
    np.testing.assert_array_equal(start, [0, 0, 0, 5])
    advance(windows, 4)
    stream, start = windows.draw(5)
    np.testing.assert_array_equal(stream, [1, 2, 0, 1, 2])
    np.testing.assert_array_equal(start, [5, 5, 10, 10, 10])
    assert not windows.state()["queue"]


def test_overwritten_online_windows_are_skipped() -> None:
    windows = make(online=True)
    advance(windows, 23)  # 6 is the oldest record: windows 0 and 5 are gone
    _, start = windows.draw(6)
    np.testing.assert_array_equal(start, [10, 10, 10, 15, 15, 15])


def test_overwritten_windows_behind_a_live_one_are_skipped() -> None:
    """Once streams were dealt anew, the front of the queue need not be the oldest window."""
    windows = make(online=True)
    dealt = {"count": [20, 40, 30], "queue": [[0, 5], [1, 20], [2, 12], [1, 30], [2, 13]]}
    windows.load_state(windows.state() | dealt)
    stream, start = windows.draw(3)
    np.testing.assert_array_equal(stream, [0, 1, 2])
    np.testing.assert_array_equal(start, [5, 30, 13])


def test_queue_stays_short_while_nothing_is_sampled() -> None:
    windows = make(online=True)
    advance(windows, 1000)
    assert len(windows.state()["queue"]) <= 3 * 17 // 5


def test_same_seed_same_windows() -> None:
    drawn = []
    for seed in (7, 7, 8):
        windows = make(online=True, recency=0.5, seed=seed)
        advance(windows, 30)
        drawn.append(np.stack(windows.draw(11)).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_state_passes_through_json_and_continues_alike() -> None:
    first = make(online=True, recency=0.5, seed=3)
    advance(first, 24)
    first.draw(5)
    second = make(online=True, recency=0.5, seed=99)
    second.load_state(json.loads(json.dumps(first.state())))
    for _ in range(3):
        np.testing.assert_array_equal(np.stack(first.draw(7)), np.stack(second.draw(7)))
        advance(first, 4)
        advance(second, 4)
    assert first.state() == second.state()


@pytest.mark.parametrize("source", [{"length": 4, "online": True}, {"online": False}])
def test_queue_begins_anew_after_another_length_or_no_queue(source: dict[str, Any]) -> None:
    """A tile that began before the change would never be found complete: the queue went silent."""
    old = make(**source)
    advance(old, 13)
    windows = make(online=True)
    windows.load_state(old.state())
    assert windows.state()["queue"] == []
    advance(windows, 5)
    assert windows.state()["queue"] == [[0, 13], [1, 13], [2, 13]]


def test_state_of_other_streams_is_refused() -> None:
    with pytest.raises(ValueError, match="of 2 streams, this replay has 3"):
        make().load_state(make(streams=2).state())


STATE = {
    "length": 5,
    "count": [40, 30, 20],
    "oldest": [23, 13, 3],
    "tile": [40, 28, 17],
    "queue": [[0, 20], [2, 12], [0, 35], [1, 23]],  # the first is overwritten
}


def test_redeal_to_fewer_streams_by_hand() -> None:
    state, moves = redeal(STATE, 2)
    assert moves == [Move(0, -23), Move(1, -13), Move(0, 14)]  # stream 2 begins at 17 of stream 0
    assert state["count"] == [34, 17]
    assert state["oldest"] == [0, 0]
    assert state["tile"] == [31, 15]
    assert state["queue"] == [[0, 26], [0, 12], [1, 10]]


def test_redeal_to_more_streams_leaves_the_rest_empty() -> None:
    state, moves = redeal(STATE, 5)
    assert [move.stream for move in moves] == [0, 1, 2]
    assert state["count"] == [17, 17, 17, 0, 0]


def test_redeal_to_equal_streams_changes_nothing() -> None:
    assert redeal(STATE, 3) == (STATE, [Move(0, 0), Move(1, 0), Move(2, 0)])
