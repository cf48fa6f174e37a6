"""Simulators that have two functions and no interface."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dreamer_jax.envs.adapters import functions as functions_module
from dreamer_jax.envs.adapters.functions import from_functions
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
from dreamer_jax.types import Space

FLOAT, INT, BYTE = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)


class Walk:
    """A point on a line."""

    closed = False

    def reset(self, seed):
        self.place = np.random.default_rng(seed).uniform(-1, 1)
        return self.place

    def step(self, force):
        self.force = force
        self.place += 0.5 * float(force)
        return self.place, -abs(self.place), abs(self.place) > 2

    def close(self):
        Walk.closed = True


def test_a_simulator_becomes_an_environment():
    walk = Walk()
    env = from_functions(walk, action=(-3.0, 3.0))
    assert env.spaces.obs == {"vector": Space(FLOAT, (1,))}
    assert env.spaces.action == {"action": Space(FLOAT, ())}
    record = env.reset(5)
    start = np.float32(np.random.default_rng(5).uniform(-1, 1))
    assert record["vector"] == start and record["is_first"] and record["reward"] == 0
    record = env.step({"action": np.float32(0.5)})
    assert walk.force == 1.5 and not record["is_last"]
    np.testing.assert_allclose(record["vector"], start + 0.75, rtol=1e-6)
    np.testing.assert_allclose(record["reward"], -abs(record["vector"][0]), rtol=1e-6)
    record = env.step({"action": np.float32(1)})
    record = env.step({"action": np.float32(1)})
    assert record["is_last"] and record["is_terminal"]
    assert env.render() is None
    env.close()
    assert Walk.closed


def test_it_keeps_the_contract_and_takes_wrappers():
    make = lambda: from_functions(Walk(), action=(-1.0, 1.0), time_limit=7, repeat=2)
    assert check_env(make) == []
    assert make().repeat == 2


def functions(observation, returned, **more):
    return {"reset": lambda: observation, "step": lambda _: returned, **more}


def ends(returned):
    env = from_functions(functions(0.0, returned), action=2)
    env.reset(0)
    record = env.step({"action": np.int32(1)})
    return bool(record["is_last"]), bool(record["is_terminal"])


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ((False,), (False, False)),
        ((True,), (True, True)),
        ((np.bool_(True), {"info": 1}), (True, True)),  # Gym before 0.26
        ((False, True), (True, False)),
        ((True, True), (True, True)),
        ((False, True, {}), (True, False)),  # Gymnasium
        ((False, {"TimeLimit.truncated": True}), (False, False)),
    ],
)
def test_ends_and_truncations_stay_apart(end, expected):
    assert ends((0.0, 1.0, *end)) == expected


@pytest.mark.parametrize("kind", [dict, SimpleNamespace, type(sys)])
def test_functions_may_stand_in_anything(kind):
    made = kind("simulator") if kind is type(sys) else None
    given = functions(np.zeros(3), (np.zeros(3), 0, False), render=lambda: np.ones((2, 2, 3)))
    if made is not None:
        vars(made).update(given)
    env = from_functions(made or kind(**given), action=5)
    assert env.reset(0)["vector"].shape == (3,)
    assert env.render().dtype == np.uint8


def test_observations_are_described_by_the_first_one():
    first = {
        "camera": np.zeros((20, 24, 3), np.uint8),
        "angle": 0.5,
        "items": np.zeros(4, np.int64),
        "room": 3,
        "open": np.array([True, False]),
    }
    simulator = functions((first, {"info": 1}), (first, 0.0, False))
    env = from_functions(simulator, action={"turn": (-1, [1, 2]), "jump": 2}, classes={"room": 7})
    assert env.spaces.obs == {
        "camera": Space(BYTE, (20, 24, 3)),
        "angle": Space(FLOAT, (1,)),
        "items": Space(INT, (4,)),
        "room": Space(INT, (), 7),
        "open": Space(np.dtype(np.bool_), (2,), 2),
    }
    assert env.spaces.action == {"turn": Space(FLOAT, (2,)), "jump": Space(INT, (), 2)}
    assert from_functions(functions(first["camera"], ()), action=2).spaces.obs.keys() == {"image"}


def test_a_dict_of_actions_reaches_the_simulator_as_one():
    seen = []
    simulator = functions(0.0, (0.0, 0.0, False))
    simulator["step"] = lambda action: seen.append(action) or (0.0, 0.0, False)
    env = from_functions(simulator, action={"turn": (-1, [1, 3]), "jump": 2})
    env.reset(0)
    env.step({"turn": np.array([1, 0], np.float32), "jump": np.int32(1)})
    assert seen[0]["turn"].tolist() == [1, 1] and seen[0]["jump"] == 1


def test_absent_keys_are_filled_where_asked_and_new_ones_refused():
    simulator = functions({"a": 1.0, "b": np.zeros(2)}, ({"a": 2.0}, 0.0, False))
    env = from_functions(simulator, action=2, fill_missing=True)
    env.reset(0)
    assert env.step({"action": np.int32(0)})["b"].tolist() == [-np.inf, -np.inf]
    simulator["step"] = lambda _: ({"a": 2.0, "c": 0.0}, 0.0, False)
    env = from_functions(simulator, action=2)
    with pytest.raises(RecordError, match=r"has \['c'\], which the first one did not have"):
        env.step({"action": np.int32(0)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": 0}, "action=0 describes no action"),
        ({"action": (1.0, -1.0)}, "describes no action; n stands for"),
        ({"action": {"jump": "high"}}, "jump='high' describes no action"),
        ({"action": 2, "classes": {"room": 3}}, r"classes names \['room'\], observed are \['vect"),
        (
            {"action": 2, "simulator": {"reset": lambda: 0.0}},
            "the simulator dict has no function 'step'",
        ),
    ],
)
def test_senseless_descriptions_are_refused(options, message):
    options = {"simulator": functions(0.0, ())} | options
    with pytest.raises(UserError, match=message):
        from_functions(options.pop("simulator"), **options)


@pytest.mark.parametrize("returned", [(0.0, 1.0), [0.0, 1.0, False], None])
def test_a_step_that_returns_something_else_says_what_it_returns(returned):
    env = from_functions(functions(0.0, returned), action=2)
    with pytest.raises(UserError, match=rf"step returns \(observation.*{type(returned).__name__}"):
        env.step({"action": np.int32(0)})


def test_the_ten_lines_that_are_shown_keep_the_contract(tmp_path, monkeypatch):
    code = functions_module.__doc__.partition("twice:\n")[2].partition("In `my_sim.py`")[0]
    (tmp_path / "my_sim.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    assert check_env(lambda: make_env("my_sim:make", time_limit=20)) == []
    lines = [line for line in (tmp_path / "my_sim.py").read_text().splitlines() if line.strip()]
    assert len(lines) == 10
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    shown = [line for line in readme.splitlines() if line.strip()]
    assert "\n".join(lines) in "\n".join(shown)


def test_numbers_of_python_are_floats_whatever_the_first_one_is():
    """Symptom: a first observation 0 made 0.1 … 0.8 zeros. Cause: its type became the space's."""
    seen = iter([0, 0, 0.1, 0.8])
    simulator = {"reset": lambda: next(seen), "step": lambda _: (next(seen), 0.0, False)}
    env = from_functions(simulator, action=2)
    assert env.spaces.obs == {"vector": Space(FLOAT, (1,))}
    env.reset(0)
    steps = [env.step({"action": np.int32(0)})["vector"].item() for _ in range(2)]
    assert steps == [np.float32(0.1), np.float32(0.8)]


@pytest.mark.parametrize(
    ("first", "space"),
    [
        ([0, 1], Space(FLOAT, (2,))),
        ([(0, 1), (2, 3)], Space(FLOAT, (2, 2))),
        (True, Space(np.dtype(np.bool_), (), 2)),
        (np.int64(0), Space(INT, ())),
        (np.zeros(2, np.int64), Space(INT, (2,))),
        ([np.int64(0), np.int64(1)], Space(INT, (2,))),
    ],
)
def test_only_numpy_integers_declare_integers(first, space):
    assert from_functions(functions(first, ()), action=2).spaces.obs == {"vector": space}


@pytest.mark.parametrize("given", [{}, {"classes": 5}])
def test_a_fraction_where_integers_are_declared_is_an_error(given):
    env = from_functions(functions(np.int64(0), (0.5, 0.0, False)), action=2, **given)
    env.reset(0)
    with pytest.raises(InvalidValueError, match=r"'vector' holds 0\.5, which int32 cannot hold"):
        env.step({"action": np.int32(0)})


def seeded_by(reset):
    """Return what `reset` is called with."""
    got = []
    env = from_functions({"reset": reset(got), "step": lambda _: (0.0, 0.0, False)}, action=2)
    env.reset(7)
    return got[-1]


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        (lambda got: lambda seed: got.append(seed) or 0.0, 7),
        (lambda got: lambda number: got.append(number) or 0.0, 7),
        (lambda got: lambda *, seed: got.append(seed) or 0.0, 7),
        (
            lambda got: lambda *, seed=None, options=None: got.append((seed, options)) or 0.0,
            (7, None),
        ),
        (lambda got: lambda level=1, seed=2: got.append((level, seed)) or 0.0, (1, 7)),
        (lambda got: lambda level=1: got.append(level) or 0.0, 1),
        (lambda got: lambda **given: got.append(given) or 0.0, {"seed": 7}),
        (lambda got: lambda *given: got.append(given) or 0.0, (7,)),
        (lambda got: lambda: got.append(None) or 0.0, None),
    ],
)
def test_the_seed_goes_where_it_is_asked_for_and_nowhere_else(reset, expected):
    """Symptom: `reset(level=1)` got a seed as its level. Cause: any first parameter did."""
    assert seeded_by(reset) == expected


@pytest.mark.parametrize(("reset", "told"), [(lambda level=1: level, True), (abs, False)])
def test_a_simulator_that_takes_no_seed_is_told(reset, told):
    env = from_functions({"reset": reset, "step": lambda _: (0.0, 0.0, False)}, action=2)
    note = "reset takes no seed, so that no episode can be repeated; name a parameter of it seed"
    assert env.notes == ([note] if told else [])


def test_a_reset_that_needs_more_than_the_seed_says_so():
    simulator = functions(0.0, ()) | {"reset": lambda seed, level: seed + level}
    with pytest.raises(
        UserError, match=r"reset needs \['level'\] beside the seed; give it a default"
    ):
        from_functions(simulator, action=2)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (None, "the reward is None, not one number"),
        (np.zeros(3), r"the reward is float64 \(3,\), not one number"),
        ("1", "the reward is '1', not one number"),
    ],
)
def test_a_reward_that_is_no_number_is_said(reward, message):
    env = from_functions(functions(0.0, (0.0, reward, False)), action=2)
    with pytest.raises(RecordError, match=message):
        env.step({"action": np.int32(0)})


def test_a_reward_of_one_element_is_its_number():
    env = from_functions(functions(0.0, (0.0, np.array([2.5]), False)), action=2)
    assert env.step({"action": np.int32(0)})["reward"] == 2.5


def test_what_was_added_to_a_missing_bound_is_told():
    env = from_functions(functions(0.0, ()), action={"push": (0.0, np.inf), "turn": (-1.0, 1.0)})
    note = env.notes[0]
    assert note.startswith("action 'push' lacks a bound; the agent acts in 0 … 2")
