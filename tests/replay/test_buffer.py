"""Batches: contents, repairs, write-backs, refusals."""

import subprocess
import sys

import numpy as np
import pytest

from dreamer_jax.replay import Replay, Slots

from .conftest import COLUMNS, DETER, LATENTS, STREAM_STRIDE, Feed, Make, equal_latents


def stored(replay: Replay, stream: int, start: int, length: int) -> np.ndarray:
    return replay._latents.read(stream, start, length)["stoch"][:, 0]


@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("online", [False, True])
def test_windows_of_a_wrapped_ring_are_consecutive(
    make_replay: Make, feed: Feed, context: int, online: bool
) -> None:
    """A window drawn across the write head joins two times that never met."""
    replay = make_replay(context=context, online=online)
    feed(replay, 23 * 3 // 2)
    for _ in range(50):
        batch = replay.sample()
        step = batch.data["step"]
        assert step.shape == (2, 5 + context)
        assert (np.diff(step, axis=1) == 1).all()
        np.testing.assert_array_equal(
            step // STREAM_STRIDE, batch.slots.stream[:, None].repeat(5 + context, 1)
        )
        np.testing.assert_array_equal(step[:, context] % STREAM_STRIDE, batch.slots.start)
        assert (step % STREAM_STRIDE >= 34 - 23).all()
        assert (batch.data["image"] == step.astype(np.uint8)[..., None, None, None]).all()


def test_context_latent_is_that_of_the_leading_record(make_replay: Make, feed: Feed) -> None:
    replay = make_replay()
    feed(replay, 31)
    batch = replay.sample()
    assert batch.latents is not None and batch.latents.keys() == LATENTS.keys()
    deter, stoch = batch.latents["deter"], batch.latents["stoch"]
    lead = batch.data["step"][:, 0]
    np.testing.assert_array_equal(deter, np.tile((lead % 251)[:, None], 5).astype(DETER.dtype))
    np.testing.assert_array_equal(stoch, np.tile((lead % 241)[:, None], 3))
    assert deter.dtype == DETER.dtype


def test_no_latent_without_context(make_replay: Make, feed: Feed) -> None:
    replay = make_replay(context=0)
    feed(replay, 31)
    batch = replay.sample()
    assert batch.latents is None


def test_sampling_needs_as_many_windows_as_a_batch_has_records(
    make_replay: Make, feed: Feed
) -> None:
    """Sampling an unfilled ring returned zeros as if they were experience."""
    replay = make_replay()
    with pytest.raises(ValueError, match="0 windows exist, 10 are needed"):
        replay.sample()
    feed(replay, 8)  # 3 windows in each of 3 streams
    assert replay.windows == 9 and not replay.can_sample
    with pytest.raises(ValueError, match="9 windows exist, 10 are needed"):
        replay.sample()
    feed(replay, 1)
    assert replay.windows == 12 and replay.can_sample
    replay.sample()


@pytest.mark.parametrize(
    ("resets", "context", "is_first", "is_last"),
    [
        # The window is records 5 … 9; with context, record 5 is the context record.
        ((), 0, "10000", "00000"),
        ((), 1, "00000", "00000"),
        ((7,), 0, "10100", "01000"),
        ((7,), 1, "00100", "01000"),
        ((5,), 0, "10000", "00000"),
        ((5,), 1, "10000", "00000"),
        ((6,), 0, "11000", "10000"),
        ((6,), 1, "01000", "10000"),
        ((10,), 1, "00000", "00001"),  # the successor lies behind the window
        ((6, 7, 10), 1, "01100", "11001"),
    ],
)
def test_flags_are_repaired_in_the_copy(
    make_replay: Make,
    feed: Feed,
    resets: tuple[int, ...],
    context: int,
    is_first: str,
    is_last: str,
) -> None:
    replay = make_replay(streams=1, capacity=23, length=5 - context, context=context)
    feed(replay, 17, resets)
    batch = replay.sample()  # the queue serves 0 … 4 and 5 … 9
    np.testing.assert_array_equal(batch.data["step"][1], np.arange(5, 10))
    np.testing.assert_array_equal(batch.data["is_first"][1], [f == "1" for f in is_first])
    np.testing.assert_array_equal(batch.data["is_last"][1], [f == "1" for f in is_last])
    columns = replay._records.columns
    np.testing.assert_array_equal(np.flatnonzero(columns["is_first"][0, :17]), resets)
    assert not columns["is_last"][0, :17].any()


def test_slot_behind_the_newest_record_is_not_its_successor(make_replay: Make, feed: Feed) -> None:
    """The oldest record lies there: a reset in it ended the newest record's episode."""
    replay = make_replay(streams=1, capacity=11, batch_size=1, online=False)

    def last_flags() -> set[bool]:
        rows = [replay.sample().data for _ in range(60)]
        return {bool(row["is_last"][0, -1]) for row in rows if row["step"][0, -1] == 12}

    feed(replay, 13, resets=(2,))
    assert last_flags() == {False}
    feed(replay, 1, resets=(13,))
    assert last_flags() == {True}


def test_write_back_reaches_the_trained_records_only(make_replay: Make, feed: Feed) -> None:
    replay = make_replay(online=False)
    feed(replay, 31)
    slots = Slots(np.array([1]), np.array([20]))
    latents = equal_latents(replay, 1, 0)
    latents["deter"][0, :, 0] = latents["stoch"][0, :, 0] = np.arange(200, 205)
    before = replay._latents.read(1, 8, 23)
    assert replay.write_back(slots, latents) == 0
    after = replay._latents.read(1, 8, 23)
    for key in LATENTS:
        np.testing.assert_array_equal(after[key][12:17], latents[key][0])
    for key, values in before.items():
        np.testing.assert_array_equal(after[key][:12], values[:12])
        np.testing.assert_array_equal(after[key][17:], values[17:])
    np.testing.assert_array_equal(stored(replay, 2, 20, 5), (2020 + np.arange(5)) % 241)


@pytest.mark.parametrize(("late", "dropped"), [(0, 0), (1, 0), (3, 2), (5, 4), (6, 5), (23, 5)])
def test_late_write_back_spares_overwritten_records(
    make_replay: Make, feed: Feed, late: int, dropped: int
) -> None:
    """A stale latent in a new record is a state from another episode."""
    replay = make_replay(online=False)
    feed(replay, 23)
    slots = Slots(np.array([1]), np.array([1]))  # records 1 … 5; the ring is full
    feed(replay, late)
    assert replay.write_back(slots, equal_latents(replay, 1, 250)) == dropped
    everything = stored(replay, 1, late, 23)
    expected = (1000 + late + np.arange(23)) % 241
    expected[max(0, 1 - late) : max(0, 6 - late)] = 250
    np.testing.assert_array_equal(everything, expected)


def test_last_row_wins_where_rows_overlap(make_replay: Make, feed: Feed) -> None:
    replay = make_replay(online=False, batch_size=3)
    feed(replay, 31)
    latents = equal_latents(replay, 3, 0)
    for row in range(3):
        latents["deter"][row] = latents["stoch"][row] = 201 + row
    slots = Slots(np.array([1, 1, 1]), np.array([20, 22, 18]))
    replay.write_back(slots, latents)
    np.testing.assert_array_equal(
        stored(replay, 1, 18, 9), [203, 203, 203, 203, 203, 202, 202, 202, 202]
    )


def test_wrong_latents_are_refused_and_nothing_is_stored(make_replay: Make, feed: Feed) -> None:
    replay = make_replay()
    feed(replay, 31)
    before = replay._latents.read(0, 8, 23)
    slots = replay.sample().slots
    latents = equal_latents(replay, 2, 99)
    deter, stoch = latents["deter"], latents["stoch"]
    with pytest.raises(ValueError, match=r"'deter' must be bfloat16 .* got float32"):
        replay.write_back(slots, latents | {"deter": deter.astype(np.float32)})
    with pytest.raises(ValueError, match=r"'stoch' must be uint8 of shape \(2, 5, 3\)"):
        replay.write_back(slots, latents | {"stoch": stoch[:, 1:]})
    with pytest.raises(ValueError, match=r"keys \['deter', 'stoch'\], got \['deter'\]"):
        replay.write_back(slots, {"deter": deter})
    for key, values in replay._latents.read(0, 8, 23).items():
        np.testing.assert_array_equal(values, before[key])


def test_wrong_record_leaves_the_replay_as_it_was(make_replay: Make, feed: Feed) -> None:
    replay = make_replay()
    feed(replay, 3)
    records = {key: np.zeros((3, *s.shape), s.dtype) for key, s in COLUMNS.items()}
    with pytest.raises(ValueError, match="'stoch' must be uint8"):
        latents = {"deter": np.zeros((3, 5), DETER.dtype), "stoch": np.zeros((3, 3), np.int32)}
        replay.add(records, latents)
    assert replay.size == 9
    np.testing.assert_array_equal(replay._records.read(0, 0, 3)["step"], [0, 1, 2])


def test_same_seed_same_batches(make_replay: Make, feed: Feed) -> None:
    steps = []
    for seed in ([3, 1], [3, 1], [3, 2]):
        replay = make_replay(seed=seed, recency=0.5)
        feed(replay, 31)
        steps.append([replay.sample().data["step"].tolist() for _ in range(11)])
    assert steps[0] == steps[1] != steps[2]


@pytest.mark.parametrize("filled", [9, 31])
def test_a_look_leaves_no_trace(make_replay: Make, feed: Feed, filled: int) -> None:
    """A report drew its batch as training does: whoever reported trained on other batches."""
    looked, twin = (make_replay(seed=[3, 1], recency=0.5) for _ in range(2))
    for both in (looked, twin):
        feed(both, filled)
    assert twin.state()["queue"]  # windows that a look must not serve
    looked.look(7), looked.look(8)
    assert looked.state() == twin.state()
    for _ in range(5):
        ours, theirs = looked.sample(), twin.sample()
        for key in COLUMNS:
            np.testing.assert_array_equal(ours.data[key], theirs.data[key])


def test_a_look_depends_on_its_number_and_the_seed_alone(make_replay: Make, feed: Feed) -> None:
    replay, other = make_replay(seed=[3, 1]), make_replay(seed=[3, 2])
    feed(replay, 31), feed(other, 31)
    steps = lambda replay, at: replay.look(at).data["step"].tolist()
    first = steps(replay, 5)
    replay.sample(), replay.look(6)
    assert steps(replay, 5) == first
    assert len({str(steps(replay, at)) for at in range(7)}) > 1
    assert [steps(other, at) for at in range(7)] != [steps(replay, at) for at in range(7)]


def test_a_look_is_a_batch_like_any_other(make_replay: Make, feed: Feed) -> None:
    replay = make_replay()
    feed(replay, 8)
    with pytest.raises(ValueError, match="9 windows exist, 10 are needed"):
        replay.look(0)
    feed(replay, 23)
    batch = replay.look(0)
    step = batch.data["step"]
    assert step.shape == (2, 6) and (np.diff(step, axis=1) == 1).all()
    np.testing.assert_array_equal(step[:, 1] % STREAM_STRIDE, batch.slots.start)
    assert batch.latents is not None
    np.testing.assert_array_equal(batch.latents["stoch"][:, 0], step[:, 0] % 241)


def test_online_queue_serves_every_window_once_and_first(make_replay: Make, feed: Feed) -> None:
    replay = make_replay(length=4, streams=3)  # windows of 5
    feed(replay, 20)
    served = np.concatenate([replay.sample().data["step"][:, 0] for _ in range(6)])
    expected = [stream * STREAM_STRIDE + tile for tile in (0, 5, 10, 15) for stream in range(3)]
    np.testing.assert_array_equal(served, expected)
    assert replay.state()["queue"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 24}, "capacity 24 in 3 streams is too small: at most 9 windows"),
        ({"context": 2}, "context must be 0 or 1, got 2"),
        ({"recency": 1.5}, "recency must be between 0 and 1, got 1.5"),
    ],
)
def test_impossible_arguments_are_named(
    make_replay: Make, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_replay(**options)


def test_flags_are_required() -> None:
    columns = {key: space for key, space in COLUMNS.items() if key != "is_last"}
    with pytest.raises(ValueError, match="need is_first and is_last"):
        Replay(columns, LATENTS, capacity=69, streams=3, batch_size=2, length=5)


def test_replay_imports_no_jax() -> None:
    code = (
        "import sys, dreamer_jax.replay; "
        "print({'jax', 'jaxlib', 'flax', 'optax'} & set(sys.modules) or 'none')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "none"
