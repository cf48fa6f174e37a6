"""The conformance check finds each fault planted in an environment that has none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dreamer_jax.envs.checking.episodes import check_env, examine_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.testing.mixed import Mixed

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


def _carry_steps_over(record, env):
    # A counter that no reset clears: a past of resets alone does not move it.
    env.steps = getattr(env, "steps", 0) + (env._index > 0)
    record["vector"] = record["vector"] + np.float32(env.steps)


def _unseeded(record, _):
    record["vector"] = record["vector"] + np.float32(np.random.default_rng().random())


def _raises(_, env):
    if env._index == 3:
        raise KeyError("no such level")


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
    "carry_steps_over": (_carry_steps_over, "'vector' differs between two instances"),
    "unseeded": (_unseeded, "'vector' differs between two instances"),
    "raises": (_raises, "step raised KeyError: 'no such level'"),
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
    """−inf and −1 mark missing values (docs/algorithm.md 1)."""
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
    assert closed == [13, 13, 13, 13]


def test_closing_twice_is_tried():
    class Once(Counting):
        open = True

        def close(self):
            if not self.open:
                raise OSError("already closed")
            self.open = False

    (problem,) = check_env(Once)
    assert problem == "close raised OSError: already closed; closing again does nothing"


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), [0]])
def test_pictures_are_looked_at(picture):
    class Rendered(Counting):
        def render(self):
            return picture

    (problem,) = check_env(Rendered)
    assert problem.startswith("render returns ")


def test_pictures_that_cannot_be_made_are_no_breach():
    class Headless(Counting):
        def render(self):
            raise OSError("no display")

    found = examine_env(Headless)
    assert found.problems == []
    assert found.hints == ["render raised OSError: no display; there will be no videos"]


@pytest.mark.parametrize(("ending", "suspected"), [("terminal", True), ("truncated", False)])
def test_ends_are_told_and_a_time_limit_that_looks_terminal_is_suspected(ending, suspected):
    found = examine_env(lambda: Counting(length=13, ending=ending), episodes=3)
    assert found.problems == [] and found.episodes == [(13, ending)] * 3
    assert bool(found.hints) == suspected
    if suspected:
        assert "after 13 steps: if that is a time limit, it is a truncation" in found.hints[0]

    class Uneven(Counting):
        def reset(self, seed):
            self._length = 13 + seed % 3
            return super().reset(seed)

    assert examine_env(lambda: Uneven(20, ending=ending), episodes=3).hints == []
    unfinished = examine_env(lambda: Counting(length=13, ending=ending), max_steps=7)
    assert unfinished.episodes == [(7, "unfinished")] * 2 and unfinished.hints == []


class Saving(Counting):
    """Can be saved; a `fault` forgets the seed."""

    def __init__(self, fault):
        super().__init__(length=31)
        self.fault = fault

    def snapshot(self):
        return bytes([self._index]) + self._seed.to_bytes(4, "big")

    def restore(self, state):
        self._index = state[0]
        if not self.fault:
            self._seed = int.from_bytes(state[1:], "big")


@pytest.mark.parametrize("fault", [False, True])
def test_snapshots_are_tried(fault):
    problems = check_env(lambda: Saving(fault), max_steps=5)
    expected = ["'seed' differs between an episode and its restored snapshot"]
    assert problems == (expected if fault else [])
