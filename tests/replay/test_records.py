"""Records become columns of replay, and columns become the batches that a learner reads."""

from __future__ import annotations

import numpy as np

from dreamer_jax.replay import Replay, record_columns, to_batch, to_columns
from dreamer_jax.types import SIGNALS, Space, Spaces

E, T = 3, 5
FLOAT, INT, BYTE = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)
# `speed` is observed and chosen, and `reward` is observed too: names that would clash.
SPACES = Spaces(
    obs={
        "camera": Space(BYTE, (7, 2, 1)),
        "speed": Space(FLOAT, (3,)),
        "reward": Space(FLOAT, ()),
    },
    action={"speed": Space(FLOAT, (2,)), "jump": Space(INT, (), 4)},
)


def drawn(number: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return records and actions `[E, ...]` whose values are all of their own."""
    rng = np.random.default_rng(number)
    draw = lambda space: rng.integers(1, 200, (E, *space.shape)).astype(space.dtype)
    records = {key: draw(space) for key, space in SPACES.obs.items() if key != "reward"}
    records |= {"reward": rng.normal(size=E).astype(np.float32)}
    flags = {"is_first": number == 0, "is_last": number == T - 1, "is_terminal": number == 2}
    records |= {key: np.full(E, value) for key, value in flags.items()}
    records["log/depth"] = np.full(E, 11.0)
    return records, {key: draw(space) for key, space in SPACES.action.items()}


def test_columns_are_those_that_records_fill():
    """Names, dtypes and shapes; `log/…` is not stored."""
    records, actions = drawn(1)
    stored, columns = to_columns(records, actions, SPACES), record_columns(SPACES)
    assert stored.keys() == columns.keys()
    assert not any("log" in key for key in columns)
    for key, value in stored.items():
        assert (value.dtype, value.shape[1:]) == (columns[key].dtype, columns[key].shape), key


def test_records_come_back_from_replay_as_they_went_in():
    latents = {"state": Space(FLOAT, (2,))}
    sizes = {"capacity": 19 * E, "streams": E, "batch_size": 2, "length": T, "context": 0}
    replay = Replay(record_columns(SPACES), latents, **sizes)
    steps = [drawn(number) for number in range(4 * T)]
    for records, actions in steps:
        zeros = {"state": np.zeros((E, 2), np.float32)}
        replay.add(to_columns(records, actions, SPACES), zeros)
    drawn_batch = replay.sample()
    batch = to_batch(drawn_batch.data)
    assert batch.obs.keys() == SPACES.obs.keys() and batch.action.keys() == SPACES.action.keys()
    for row, (stream, start) in enumerate(zip(*drawn_batch.slots, strict=True)):
        for t in range(T):
            records, actions = steps[start + t]
            for key in SPACES.obs:
                np.testing.assert_array_equal(batch.obs[key][row, t], records[key][stream])
            for key in SPACES.action:
                np.testing.assert_array_equal(batch.action[key][row, t], actions[key][stream])
            assert batch.reward[row, t] == records["reward"][stream]
            assert batch.is_terminal[row, t] == records["is_terminal"][stream]


def test_vector_steps_in_bulk_become_columns_too():
    """Records `[K, E, ...]`, as a call of environments on the device brings them."""
    pairs = [drawn(number) for number in range(T)]
    stack = lambda trees: {key: np.stack([tree[key] for tree in trees]) for key in trees[0]}
    records, actions = (stack([pair[i] for pair in pairs]) for i in range(2))
    batch = to_batch(to_columns(records, actions, SPACES))
    for key in SIGNALS:
        assert getattr(batch, key).shape == (T, E)
        np.testing.assert_array_equal(getattr(batch, key), records[key])
