"""Memory Maze: built from the episode's seed, pictures and six actions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("memory_maze")

from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

# dm_control's own indexing, under NumPy 2.5.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")


def test_an_episode_is_a_function_of_its_seed():
    first, second = make_env("memorymaze:9x9"), make_env("memorymaze:9x9", time_limit=7)
    assert first.spaces.obs == {"image": Space(np.dtype(np.uint8), (64, 64, 3))}
    assert first.spaces.action == {"action": Space(np.dtype(np.int32), (), 6)}
    second.reset(8)
    records = []
    for env in (first, second):
        rng = np.random.default_rng(0)
        own = [env.reset(3)]
        own += [env.step({"action": np.int32(rng.integers(6))}) for _ in range(7)]
        records.append(own)
    last = records[1][-1].pop("is_last")
    assert last and not records[0][-1].pop("is_last") and not records[1][-1]["is_terminal"]
    for a, b in zip(*records, strict=True):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a)
    first.close(), second.close()


def test_unknown_sizes_are_named_with_near_ones():
    with pytest.raises(UserError, match=r"'9x8'.*9x9"):
        make_env("memorymaze:9x8")
