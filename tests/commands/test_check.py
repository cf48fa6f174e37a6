"""`check` on tasks that keep the contract and on one that does not."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from dreamer_jax.__main__ import run
from dreamer_jax.envs.adapters.functions import from_functions
from dreamer_jax.envs.testing.mixed import Mixed
from dreamer_jax.errors import UserError

MODULE = "an_environment_of_my_own"


class Wide(Mixed):
    """Rewards in a dtype that the contract does not name."""

    def _record(self, choice, pair, record):
        record = super()._record(choice, pair, record)
        record["reward"] = np.float64(record["reward"])
        return record


@pytest.fixture
def own_module(monkeypatch):
    module = type(sys)(MODULE)
    module.make = lambda: Wide(length=5)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return f"{MODULE}:make"


@pytest.mark.parametrize("task", ["testing:mixed", "gymnasium:CartPole-v1"])
def test_a_task_that_keeps_the_contract(task, capsys):
    assert run(["check", task, "--episodes=3", "--max_steps=50"]) == 0
    out = capsys.readouterr().out
    assert re.match(rf"{task}: \d+ µs a step, action repeat 1\n", out)
    assert out.endswith("the contract is kept\n")


def test_every_key_is_described(capsys):
    run(["check", "gymnasium:CartPole-v1", "--max_steps=5"])
    out = capsys.readouterr().out
    assert "  observation vector: 4 float32\n" in out
    assert "  action action: scalar int32, 2 classes\n" in out


def test_what_is_wrong_is_said_and_the_exit_code_shows_it(own_module, capsys):
    assert run(["check", own_module]) == 1
    out = capsys.readouterr().out
    assert "wrong: 'reward' is float64; its space says float32\nproblems: 1\n" in out


def test_episodes_and_their_ends_are_told(capsys):
    task = ["testing:counting", "--config.env.length=13", "--config.env.ending=terminal"]
    assert run(["check", *task]) == 0
    out = capsys.readouterr().out
    assert out.count("  episode: 13 steps, terminal\n") == 2
    assert "note: all 2 episodes end with is_terminal after 13 steps: if that is a time" in out
    run(["check", *task[:2], "--config.env.ending=truncated", "--max_steps=7"])
    assert "  episode: 7 steps, unfinished\n" in capsys.readouterr().out


def test_options_of_a_config_reach_the_environment(tmp_path, capsys):
    config = tmp_path / "mine.py"
    config.write_text(
        "from dreamer_jax.configs import default\n"
        "def get_config():\n"
        "    config = default.get_config()\n"
        "    config.env.repeat = 1\n"
        "    return config\n"
    )
    options = [f"--config={config}", "--config.env.repeat=2", "--max_steps=5"]
    assert run(["check", "gymnasium:CartPole-v1", *options]) == 0
    assert "action repeat 2" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--episodes=2"]])
def test_a_task_is_needed(arguments):
    with pytest.raises(UserError, match="check needs a task"):
        run(["check", *arguments])


@pytest.mark.parametrize("option", ["episodes", "max_steps"])
def test_counts_are_at_least_one(option):
    with pytest.raises(UserError, match=f"--{option}=0; it must be at least 1"):
        run(["check", "testing:mixed", f"--{option}=0"])


class Nothing(Mixed):
    """Forgets what a method returns."""

    def __init__(self, method):
        super().__init__(length=5)
        setattr(self, method, lambda *_: None)


class Raising(Mixed):
    """Breaks in a method."""

    def __init__(self, method):
        super().__init__(length=5)
        self._method = method

    def step(self, action):
        if self._method == "step":
            raise KeyError("no such level")
        return super().step(action)

    def close(self):
        if self._method == "close":
            raise OSError("no such window")


class Odd(Mixed):
    """Puts something odd into every record; `...` leaves the key out."""

    def __init__(self, key, value):
        super().__init__(length=5)
        self._odd = {key: value}

    def _record(self, choice, pair, record):
        record = super()._record(choice, pair, record) | self._odd
        return {key: value for key, value in record.items() if value is not ...}


def _simulator(**changed):
    functions = {"reset": lambda seed: seed % 7 / 7, "step": lambda _: (0.5, 1.0, False)}
    return from_functions(functions | changed, action=2, time_limit=5)


def _unbounded():
    functions = {"reset": lambda seed: seed % 7 / 7, "step": lambda _: (0.5, 1.0, False)}
    return from_functions(functions, action=(5.0, np.inf), time_limit=5)


def _fraction():
    after = iter([0, 0, 0, 0.5] * 1000)
    return _simulator(
        reset=lambda: np.int64(0), step=lambda _: (np.asarray(next(after)), 1.0, False)
    )


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (
            lambda: Nothing("reset"),
            1,
            "wrong: reset returned a NoneType; it returns a record, a dict",
        ),
        (
            lambda: Nothing("step"),
            1,
            "wrong: step returned a NoneType; it returns a record, a dict",
        ),
        (lambda: Raising("step"), 1, "wrong: step raised KeyError: 'no such level'"),
        (lambda: Raising("close"), 1, "wrong: close raised OSError: no such window"),
        (lambda: Odd("reward", None), 1, "wrong: 'reward' is a NoneType, not a NumPy value"),
        (
            lambda: Odd("reward", np.ones(3)),
            1,
            r"wrong: 'reward' has shape (3,); its space says ()",
        ),
        (lambda: Odd("is_last", ...), 1, "wrong: 'is_last' is missing from a record"),
        (lambda: Odd("is_last", np.zeros(2, bool)), 1, "wrong: 'is_last' has shape (2,)"),
        (lambda: Odd("vector", np.array(["a"] * 5)), 1, "wrong: 'vector' is <U1"),
        (lambda: _simulator(step=lambda _: (0.5, 1.0)), 1, "wrong: step returns (observation, rew"),
        (
            lambda: _simulator(step=lambda _: (0.5, None, False)),
            1,
            "wrong: the reward is None, not",
        ),
        (_fraction, 1, "wrong: observation 'vector' holds 0.5, which int32 cannot hold"),
        (_unbounded, 0, "note: action 'action' lacks a bound; the agent acts in 5 … 7; give"),
    ],
)
def test_what_is_wrong_is_one_line_and_no_traceback(make, code, message, monkeypatch, capsys):
    """Symptom: tracebacks. Cause: the step was timed before anything was checked."""
    module = type(sys)(MODULE)
    module.make = make
    monkeypatch.setitem(sys.modules, MODULE, module)
    assert run(["check", f"{MODULE}:make"]) == code
    out = capsys.readouterr().out
    assert sum(line.startswith(message) for line in out.splitlines()) == 1
    assert out.startswith(f"{MODULE}:make: ") and "  action " in out
