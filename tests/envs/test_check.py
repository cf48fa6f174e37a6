"""The conformance check finds each fault planted in an environment that has none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dreamer_jax.envs.check import check_env
from dreamer_jax.envs.testing import Counting, Mixed

INSTANCES = itertools.count()


class Faulty(Mixed):
    """Changes one thing: `fault(record, env)` on every record."""

    def __init__(self, fault):
        super().__init__(length=7)
        self.fault = fault
        self.number = next(INSTANCES)

    def _record(self, choice, pair, record):
        record = super()._record(choice, pair, record)
        self.fault(record, self)
        return record


def _set(key, value, at=None):
    def fault(record, env):
        if at is None or env._index == at:
            record[key] = value
        return record

    return fault


def _carry_over(record, env):
    # Depends on episodes played before, not on the seed alone.
    env.count = getattr(env, "count", 0) + 1
    record["vector"] = record["vector"] + np.float32(env.count)


FAULTS = {
    "missing": (lambda record, _: record.pop("matrix"), "'matrix' is missing"),
    "flag_missing": (lambda record, _: record.pop("is_first"), "'is_first' is missing"),
    "extra": (_set("bonus", np.float32(1)), "'bonus', which the spaces do not name"),
    "log_shape": (_set("log/x", np.zeros(3)), "log values are scalars"),
    "dtype": (_set("vector", np.zeros(5)), "'vector' is float64; its space says float32"),
    "shape": (_set("vector", np.zeros(3, np.float32)), r"'vector' has shape \(3,\)"),
    "python": (_set("integer", 3), "'integer' is a int"),
    "nan": (_set("vector", np.full(5, np.nan, np.float32), at=2), "'vector' holds values that"),
    "reward_inf": (_set("reward", np.float32(-np.inf), at=2), "'reward' holds values that"),
    "reward64": (_set("reward", np.float64(0)), "'reward' is float64"),
    "class_high": (_set("integer", np.int32(7)), r"'integer' holds 7 … 7; it has classes 0 … 6"),
    "class_low": (_set("integer", np.int32(-2)), r"'integer' holds -2"),
    "not_first": (_set("is_first", np.bool_(False)), "is_first is not set on the reset record"),
    "always_first": (_set("is_first", np.bool_(True)), "is_first is set on a step"),
    "reset_last": (_set("is_last", np.bool_(True), at=0), "is_last is set on the reset record"),
    "reset_reward": (_set("reward", np.float32(2), at=0), "the reset record has reward 2.0"),
    "terminal": (_set("is_terminal", np.bool_(True), at=3), "is_terminal is set without is_last"),
    "carry_over": (_carry_over, "'vector' differs between two instances"),
    "instance": (
        lambda record, env: record.update(vector=record["vector"] + np.float32(env.number)),
        "'vector' differs between two instances",
    ),
}


def test_no_fault_no_problem():
    assert check_env(lambda: Faulty(lambda record, _: record), episodes=3) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    fault, message = FAULTS[name]
    problems = check_env(lambda: Faulty(fault))
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("\n".join(problems))


def test_each_problem_is_said_once():
    problems = check_env(lambda: Faulty(FAULTS["dtype"][0]), episodes=3)
    assert len(problems) == len(set(problems)) == 1


def test_missing_values_are_no_fault():
    """−inf and −1 mark missing values (SPEC 1)."""
    assert check_env(lambda: Faulty(_set("vector", np.full(5, -np.inf, np.float32)))) == []
    assert check_env(lambda: Faulty(_set("integer", np.int32(-1)))) == []


def test_lost_lives_may_be_terminal_inside_an_episode():
    fault = FAULTS["terminal"][0]
    assert check_env(lambda: Faulty(fault), inner_terminals=True) == []


def test_spaces_and_repeat_are_checked():
    lengths = itertools.count(5)
    assert check_env(lambda: Counting(next(lengths))) == ["two instances have different spaces"]

    class NoRepeat(Counting):
        repeat = 0

    assert check_env(NoRepeat) == ["repeat is 0; it is at least 1"]


def test_environments_are_closed_and_long_episodes_left():
    closed = []

    class Endless(Counting):
        def close(self):
            closed.append(self._index)

    assert check_env(lambda: Endless(length=1009), episodes=1, max_steps=13) == []
    assert closed == [13, 13]
