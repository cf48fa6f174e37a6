"""Simulators whose `close` or `snapshot` raises: neither costs more than itself."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest

from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector import placement
from dreamer_jax.envs.vector.vector_env import VectorEnv

NUMBER = 3
ZEROS = {"action": np.zeros(NUMBER, np.int32)}

ENVIRONMENTS = """
from dreamer_jax.envs.testing.counting import Counting


class Stuck(Counting):
    def close(self):
        raise OSError("no such window")


class Saving(Counting):
    def __init__(self):
        super().__init__(length=31)

    def snapshot(self):
        return bytes([self._index]) + self._seed.to_bytes(4, "big")

    def restore(self, state):
        self._index, self._seed = state[0], int.from_bytes(state[1:], "big")


class Unsaved(Saving):
    def snapshot(self):
        if self._index > 2:
            raise OSError("cannot be\\nsaved now")
        return super().snapshot()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_endings.py").write_text(ENVIRONMENTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: functools.partial(make_env, f"my_endings:{name}")
    sys.modules.pop("my_endings", None)


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_a_close_that_raises_is_a_line(workers, own, capfd):
    """Symptom: an evaluation was lost after its last episode. Cause: nobody caught `close`."""
    said = []
    with VectorEnv(own("Stuck"), NUMBER, seed=7, workers=workers, warn=said.append) as env:
        env.reset()
    env.close()
    lines = said if workers == "inline" else capfd.readouterr().err.splitlines()
    expected = [f"environment {i}: close raised OSError: no such window" for i in range(NUMBER)]
    assert sorted(line.removeprefix("warning: ") for line in lines) == expected


def test_a_close_that_raises_does_not_stop_the_choice_of_a_place(own):
    mode, _ = placement.choose(own("Stuck"), 4, 2)
    assert mode == "inline"


def _steps(env, number):
    return [env.step(ZEROS) for _ in range(number)]


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_a_snapshot_that_raises_is_replaced_by_the_actions(workers, own):
    """Symptom: the run ended at its next save. Cause: nobody caught `snapshot`."""
    said = []
    make = own("Unsaved")
    with VectorEnv(make, NUMBER, seed=7, workers=workers, warn=said.append) as env:
        env.reset()
        _steps(env, 5)
        state = env.state()
        assert env.state()["environments"][0]["snapshot"] is None
        assert said == [
            "environment 0: no snapshot (OSError: cannot be saved now); open episodes without one "
            "are resumed by replaying their actions"
        ]
        expected = _steps(env, 40)
        assert env.restarts == 0
    assert [len(each["actions"]["action"]) for each in state["environments"]] == [5] * NUMBER
    with VectorEnv(make, NUMBER, seed=7, workers=workers) as env:
        assert env.load_state(state) == []
        for ours, theirs in zip(_steps(env, 40), expected, strict=True):
            assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_actions_are_not_saved_beside_a_snapshot(own):
    with VectorEnv(own("Saving"), NUMBER, seed=7, workers="inline") as env:
        env.reset()
        _steps(env, 5)
        for each in env.state()["environments"]:
            assert each["snapshot"] is not None and len(each["actions"]["action"]) == 0


def test_an_episode_whose_first_actions_are_unknown_is_not_replayed(own):
    """It came back from a snapshot, so a later one that fails has nothing to replay."""
    with VectorEnv(own("Unsaved"), NUMBER, seed=7, workers="inline") as env:
        env.reset()
        _steps(env, 2)
        state = env.state()
    assert state["environments"][0]["snapshot"] is not None
    with VectorEnv(own("Unsaved"), NUMBER, seed=7, workers="inline") as env:
        assert env.load_state(state) == []
        _steps(env, 3)
        state = env.state()
    with VectorEnv(own("Unsaved"), NUMBER, seed=7, workers="inline") as env:
        assert env.load_state(state) == list(range(NUMBER))
        assert env.step(ZEROS)["is_first"].all()


def test_a_snapshot_that_is_no_bytes_is_none():
    class Odd(Counting):
        def snapshot(self):
            return {"index": self._index}

    said = []
    with VectorEnv(Odd, 1, seed=7, workers="inline", warn=said.append) as env:
        env.reset()
        assert env.state()["environments"][0]["snapshot"] is None
    assert "environment 0: no snapshot (it is a dict, not bytes)" in said[0]
