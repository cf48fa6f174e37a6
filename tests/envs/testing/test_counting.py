"""`testing:counting` says where in time it stands."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.errors import UserError


@pytest.mark.parametrize(
    ("ending", "seed", "terminal"),
    [("terminal", 4, True), ("truncated", 5, False), ("both", 4, False), ("both", 5, True)],
)
def test_counting_says_where_it_is_and_what_led_there(ending, seed, terminal):
    seed += 0x12340000
    env = Counting(length=5, actions=3, ending=ending)
    record = env.reset(seed)
    assert record["seed"].tolist() == [0x1234, seed % 0x10000]
    for index, action in enumerate([2, 0, 1, 2, 1], start=1):
        assert not record["is_last"]
        record = env.step({"action": np.int32(action)})
        assert record["index"] == index
        assert divmod(int(record["reward"]), 3) == (index, action)
    assert record["is_last"] and record["is_terminal"] == terminal
    with pytest.raises(RuntimeError, match="after is_last"):
        env.step({"action": np.int32(0)})


def test_an_unknown_ending_is_refused():
    with pytest.raises(UserError, match="ending"):
        Counting(ending="never")
