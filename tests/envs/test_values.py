"""No record with a wrong value or layout passes; −inf and −1 do, for they mark what is missing."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from dreamer_jax.envs.faults import EnvironmentFault, FaultPolicy
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.testing.mixed import Mixed
from dreamer_jax.envs.values import ValueCheck, fields, store
from dreamer_jax.envs.vector.group import record_spaces
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import Space, Spaces

NUMBER = 5
BYTE = np.dtype(np.uint8)
SPACES = record_spaces(
    Spaces(
        {
            "vector": Space(np.dtype(np.float32), (3,)),
            "matrix": Space(np.dtype(np.float32), (2, 3)),
            "signed": Space(np.dtype(np.int32), (2,), 7),
            "unsigned": Space(BYTE, (), 7),
            "bits": Space(np.dtype(np.bool_), (2,), 2),
            "quantity": Space(np.dtype(np.int32), (2,)),
            "image": Space(BYTE, (4, 4, 3)),
            "nothing": Space(np.dtype(np.float32), (0,)),
        },
        {},
    )
)


def good():
    return {key: np.zeros((NUMBER, *space.shape), space.dtype) for key, space in SPACES.items()}


@pytest.mark.parametrize(
    ("key", "at", "value", "message"),
    [
        ("vector", (3, 2), np.nan, r"'vector' holds nan at \[2\]; it may hold finite numbers"),
        ("vector", (3, 0), np.inf, r"'vector' holds inf at \[0\]"),
        ("matrix", (3, 1, 2), np.nan, r"'matrix' holds nan at \[1, 2\]"),
        ("reward", (3,), np.nan, "'reward' holds nan; it may hold finite numbers"),
        ("reward", (3,), np.inf, "'reward' holds inf"),
        ("reward", (3,), -np.inf, "'reward' holds -inf"),
        ("signed", (3, 1), 7, r"'signed' holds 7 at \[1\]; it may hold classes 0 … 6"),
        ("signed", (3, 1), -2, "'signed' holds -2"),
        ("unsigned", (3,), 7, "'unsigned' holds 7; it may hold classes 0 … 6"),
        ("unsigned", (3,), 255, "'unsigned' holds 255"),
    ],
)
def test_a_wrong_value_is_found_with_its_key_and_environment(key, at, value, message):
    records = good()
    assert ValueCheck(SPACES)(records) == []
    records[key][at] = value
    (fault,) = ValueCheck(SPACES)(records)
    assert fault.environments == (3,) and fault.kind == "value"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(fault.report)


def test_missing_values_and_extremes_are_legal():
    records = good()
    records["vector"][:] = -np.inf
    records["matrix"][2, 1] = np.finfo(np.float32).max, np.finfo(np.float32).min, -np.inf
    records["signed"][1] = -1, 6
    records["unsigned"][1] = 6
    records["reward"][1] = np.finfo(np.float32).min
    records["quantity"][0] = -(2**31), 2**31 - 1
    records["image"][0], records["bits"][0] = 255, True
    assert ValueCheck(SPACES)(records) == []


def test_every_environment_with_a_wrong_value_is_named_once():
    records = good()
    records["vector"][1, 0] = records["matrix"][1, 0, 0] = records["reward"][4] = np.nan
    assert [fault.environments for fault in ValueCheck(SPACES)(records)] == [(1,), (4,)]


def record(**changes):
    return {key: np.zeros(space.shape, space.dtype) for key, space in SPACES.items()} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": None}, "a record lacks 'vector'"),
        # These two were stretched silently over all places of the key.
        ({"vector": np.zeros(1, np.float32)}, r"'vector' has shape \(1,\); its space says \(3,\)"),
        ({"vector": 1.5}, r"'vector' has shape \(\)"),
        ({"signed": np.full(2, 1.5)}, "'signed' is float64; its space says int32"),
        ({"quantity": np.full(2, 2**40)}, "'quantity' holds 1099511627776 … 1099511627776, not"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, "'image' is float32; its space says uint8"),
        ({"is_last": np.int32(1)}, "'is_last' is int32; its space says bool"),
        ({"vector": np.array(["a", "b", "c"])}, "'vector' is <U1"),
    ],
)
def test_a_wrong_layout_is_an_error_and_not_a_conversion(changes, message):
    with pytest.raises(RecordError, match=message) as raised:
        store(record(**changes), 2, fields(SPACES, good()))
    assert isinstance(raised.value, InvalidValueError) == ("holds" in message)


def test_what_loses_digits_only_is_converted():
    stacked = good()
    given = record(reward=0.1, is_last=True, vector=np.full(3, 0.1), signed=np.array([1, 2]))
    store(given, 2, fields(SPACES, stacked))
    assert stacked["reward"][2] == np.float32(0.1) and stacked["is_last"][2]
    assert (stacked["vector"][2] == np.float32(0.1)).all()
    assert stacked["signed"][2].tolist() == [1, 2] and not stacked["reward"][[0, 1, 3, 4]].any()


ZEROS = {"action": np.zeros(NUMBER, np.int32)}


def flaky(fault):
    return functools.partial(make_env, "testing:flaky", fault=fault)


@pytest.mark.parametrize(("fault", "key"), [("nan", "seed"), ("infinite", "reward")])
@pytest.mark.parametrize("workers", ["inline", "process"])
def test_a_wrong_value_ends_the_run_unless_its_episode_may_be_dropped(fault, key, workers):
    message = rf"environment \d: '{key}' holds .*, or drop such episodes with --config.faults.inv"
    with VectorEnv(flaky(fault), NUMBER, seed=7, workers=workers) as env:
        env.reset()
        with pytest.raises(UserError, match=message):
            for _ in range(20):
                env.step(ZEROS)
    policy = FaultPolicy(invalid_values="drop")
    with VectorEnv(flaky(fault), NUMBER, seed=7, workers=workers, faults=policy) as env:
        before = env.reset()
        for _ in range(40):
            after = env.step(ZEROS)
            new = after["is_first"]
            # A dropped episode stops at index 1: its record 2 is the one that must not be seen.
            assert set(before["index"][new & ~before["is_last"]]) <= {1}
            assert np.isfinite(after["seed"]).all() and np.isfinite(after["reward"]).all()
            before = after
        assert env.restarts > 5


def test_dropping_has_an_end():
    policy = FaultPolicy(restarts=3, invalid_values="drop")
    with VectorEnv(flaky("nan"), NUMBER, seed=7, workers="inline", faults=policy) as env:
        env.reset()
        with pytest.raises(EnvironmentFault, match=r"(?s)the 3 restarts.*'seed' holds nan"):
            for _ in range(40):
                env.step(ZEROS)


class Stretched(Counting):
    """Has two instances of which the second one forgets an axis."""

    instances = 0

    def __init__(self):
        super().__init__()
        Stretched.instances += 1
        self._wrong = Stretched.instances % 2 == 0

    def _record(self, record):
        record = super()._record(record)
        if self._wrong and self._index == 2:
            record["seed"] = record["seed"][:1]
        return record


@pytest.mark.parametrize("values", ["error", "drop"])
def test_a_wrong_layout_always_ends_the_run(values):
    policy = FaultPolicy(invalid_values=values)
    with VectorEnv(Stretched, 2, seed=7, workers="inline", faults=policy) as env:
        env.reset()
        with pytest.raises(UserError, match=r"environment 1: 'seed' has shape \(1,\)"):
            for _ in range(3):
                env.step({"action": np.zeros(2, np.int32)})


def test_integers_that_an_adapter_finds_out_of_bounds_are_values():
    """They raise inside the environment, before there is a record to look at."""
    gymnasium = pytest.importorskip("gymnasium")
    from dreamer_jax.envs.adapters.gymnasium_env import GymnasiumEnv

    class Level(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(3)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):  # noqa: ARG002
            self.level = 0
            return 0, {}

        def step(self, action):  # noqa: ARG002
            self.level += 1
            return self.level, 0.0, False, False, {}

    make = lambda: GymnasiumEnv(Level())
    step = lambda env: env.step({"action": np.zeros(2, np.int32)})
    with VectorEnv(make, 2, seed=7, workers="inline") as env:
        env.reset()
        with pytest.raises(UserError, match="environment 0: observation 'vector' holds 3 … 3, out"):
            for _ in range(4):
                step(env)
    policy = FaultPolicy(invalid_values="drop")
    with VectorEnv(make, 2, seed=7, workers="inline", faults=policy) as env:
        env.reset()
        indices = [step(env)["vector"][0] for _ in range(6)]
    assert indices == [1, 2, 0, 1, 2, 0]


def test_checking_costs_microseconds():
    """One pass per key over the stacked batch."""
    import time

    check = ValueCheck(record_spaces(Mixed().spaces))
    spaces = record_spaces(Mixed().spaces)
    records = {k: np.zeros((16, *space.shape), space.dtype) for k, space in spaces.items()}
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(50):
            check(records)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 16 * 10e-6
